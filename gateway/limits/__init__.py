"""Limits: what clients may cost before a request is refused: memory, queues, time.

Start with admission.py, which decides; queue_watch.py brings what it decides by.
"""
