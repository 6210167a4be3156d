"""Language models in a worker: stages with their caches, and the engine that steps many answers.

Start with engine.py. Nothing here knows of queues (ADR 0044).
"""
