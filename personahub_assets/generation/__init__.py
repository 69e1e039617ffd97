"""Requests to outcomes: the part that costs money. Knows neither Dagster nor the graph."""
