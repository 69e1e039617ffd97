"""`personahub browse`: the warehouse of a home as web pages, read-only."""
