"""Verification of answers: equality of answers, and programs in a sandbox."""
