"""The log of an answer: what is kept of each token, and what is told of it.

Start with entries.py.
"""
