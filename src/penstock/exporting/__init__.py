"""Exporting: a language model's checkpoint becomes a version of the model repository.

Start with export.py. Checkpoints are hostile input: nothing that they carry is executed, and one
tensor at a time is in memory. ADR 0044 says what the stages look like, and why.
"""
