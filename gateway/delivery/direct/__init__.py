"""The direct path: jobs go straight to a sleeping worker on this machine (ADR 0019).

Start with router.py, which chooses between the queue and such a worker.
"""
