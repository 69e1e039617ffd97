"""PersonaHub on Dagster: web text to a warehouse of unique personas, and personas to synthetic data."""
