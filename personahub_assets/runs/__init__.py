"""Plan and run: forecast the work and cost of a run, and run it."""
