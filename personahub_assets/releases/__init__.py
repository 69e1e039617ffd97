"""Releases: frozen folders of Parquet files with a card, a manifest and a lineage."""
