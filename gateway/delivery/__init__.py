"""Delivery: jobs of this gateway on their way to workers. Start with router.py: where jobs go.

The requests whose jobs have not ended are in `penstock.scheduler.requests`.
"""
