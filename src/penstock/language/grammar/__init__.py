"""Structured answers: JSON by a schema, texts by a regular expression or a grammar; llguidance's.

Start with structure.py, what a request may ask for. What may come next is a function of the
request and of the log, as all else is; who samples has it from masks.py, and gateways refuse with
checks.py what cannot be (ADR 0048).
"""
