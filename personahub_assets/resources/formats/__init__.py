"""Readers of source files, one file per format; `resources.sources` has the table of formats."""
