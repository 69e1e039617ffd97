"""Plan and run: what a run would do, what it costs, and doing it."""
