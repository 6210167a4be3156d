"""Streaming: replies of decoupled models, part by part. Start with worker.py."""
