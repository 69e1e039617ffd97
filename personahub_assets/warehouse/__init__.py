"""The warehouse: building it, and reading it safely."""
