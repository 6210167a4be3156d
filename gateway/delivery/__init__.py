"""Delivery: jobs on their way to workers, and what becomes of them.

Start with pending.py: the requests of this gateway whose jobs have not ended; router.py says where
the jobs go.
"""
