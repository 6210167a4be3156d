"""Requests: from the bytes of one to its job, and from the job's results to a reply.

Start with infer.py; streams.py has many requests over one RPC.
"""
