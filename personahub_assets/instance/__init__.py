"""The Dagster instance of a home, and what runs in it."""
