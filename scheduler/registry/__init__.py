"""The registry: what is deployed and what is running.

Start with snapshot.py, which says it as values; registry.py reads and writes it.
"""
