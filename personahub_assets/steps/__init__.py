"""What assets do for one batch, without Dagster."""
