"""Pure rules: no Dagster, no network, no files."""
