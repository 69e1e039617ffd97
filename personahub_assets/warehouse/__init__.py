"""The warehouse: build it, and read it safely."""
