"""Replies that serve more than one request.

Start with shared.py; content_digest.py says which requests are the same.
"""
