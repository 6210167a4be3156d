"""Calls: requests of this worker's model to other models, through the queue like all others.

Start with caller.py, which asks and waits; targets.py knows whom to ask.
"""
