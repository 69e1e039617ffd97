"""The work of assets for one batch, without Dagster."""
