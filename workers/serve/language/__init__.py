"""Serving language models: answers whose tokens go into logs. Start with worker.py."""
