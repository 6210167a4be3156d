"""Checkpoints: weights and texts as people publish them, read as hostile input.

Start with checkpoint.py, which finds out what a path holds.
"""
