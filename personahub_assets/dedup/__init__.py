"""Lexical and semantic deduplication, and its stored state."""
