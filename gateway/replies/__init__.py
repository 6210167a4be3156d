"""Replies that serve more than one request.

Start with shared.py; content_digest.py and idempotency.py say which requests are the same.
"""
