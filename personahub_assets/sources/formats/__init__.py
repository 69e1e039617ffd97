"""Readers of source files, one file per format; `sources.reader` has the table of formats."""
