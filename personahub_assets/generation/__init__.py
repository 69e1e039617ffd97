"""Send requests and store outcomes: the part that costs money. Independent of Dagster and the graph."""
