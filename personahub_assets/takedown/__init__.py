"""Takedown: find a text and everything derived from it, remove it, and record the removal."""
