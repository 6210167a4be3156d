"""Kinds of requests that need more than a model and tensors.

One module for each: sequences, classification.
"""
