"""Removing a text from everywhere: what is found, marked, swept and noted."""
