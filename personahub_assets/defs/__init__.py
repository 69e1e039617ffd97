"""The graph: one file per group: batches, corpus, personas, dedup, datasets, warehouse, releases, checks.

Every asset body reads, calls a pure function, writes and reports.
"""
