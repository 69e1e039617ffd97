"""The graph: one file per group: batches, corpus, personas, dedup, datasets, warehouse, releases, checks.

Every asset body reads, calls a pure function, writes and reports.
"""

import warnings

import dagster as dg

# Single-run backfills are marked beta in Dagster 1.13; the project depends on them knowingly, and the range of
# versions in pyproject.toml is narrow.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
