"""One run: from jobs to tensors, through the shard, and back to payloads.

Start with execution.py.
"""
