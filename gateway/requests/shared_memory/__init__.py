"""Tensors that lie in shared memory regions instead of in messages.

Start with regions.py.
"""
