"""The queue and the registry: everything that Penstock keeps in Redis, and nothing else.

This is the only package that speaks to Redis. Start with jobs/ for the life of a request, and with
registry/ for that of a model; store/ carries both, and roles/ is what a scheduler process runs.
"""
