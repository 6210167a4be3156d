"""The queue and the registry: everything that Penstock keeps in Redis, and nothing else.

This is the only package that speaks to Redis. Other roles use `queue`, `replies` and `registry`.
"""
