"""Tables of a home as Parquet files, and all paths of a home."""
