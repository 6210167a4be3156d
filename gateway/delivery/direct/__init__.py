"""The direct path: jobs go straight to a sleeping worker on this machine (ADR 0019).

Start with path.py, which knows these workers and what may be handed to them.
"""
