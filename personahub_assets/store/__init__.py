"""Tables of a home as Parquet files, and every path in it."""
