"""Serving: claim jobs of one stage, decide what runs next, and end each job.

Start with worker.py.
"""
