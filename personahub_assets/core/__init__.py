"""Modules used by all packages: settings, records, prompts, text and errors."""
