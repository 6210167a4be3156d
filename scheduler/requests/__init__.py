"""Requests that wait for their jobs: of clients, and of models that call others.

Start with pending.py, which has all of one process; checks.py says whether one can be right.
"""
