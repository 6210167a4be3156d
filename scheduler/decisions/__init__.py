"""Decisions: pure functions from a snapshot to what shall be.

Start with readiness.py; placement.py says which node runs which worker.
"""
