"""Plans: what a run would ask, why, and what that costs, found out without a call and without a write.

`planner.py` walks over what a run would walk over, `reasons.py` says why a request is open, `history.py` what such
requests have cost in this home, `work.py` is the result and `shown.py` its words.
"""
