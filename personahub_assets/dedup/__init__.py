"""Lexical and semantic deduplication, and the state that they keep."""
