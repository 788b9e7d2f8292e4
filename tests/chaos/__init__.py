"""Chaos: real processes work on a search in a real store, and are killed, stopped, cut off and lied to.

`make chaos`, or `python -m chaos --plans 60` with `tests` in PYTHONPATH. Each plan is drawn from its seed; when its
disturbances are over, plain runs take the search to its end, and `invariants` says from outside what is wrong with it.
"""
