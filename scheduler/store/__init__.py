"""The store: connections to Redis, where it is, its keys, and scripts that run in it.

Start with link.py. Nothing here knows what a job is.
"""
