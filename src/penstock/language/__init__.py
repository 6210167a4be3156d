"""Language: between text and tokens, and from a row of logits to the next token. Pure.

Start with options.py, what a request may ask for; everything here is a function of the request
and of its log, the tokens so far, so that any process makes the same of them (ADR 0044).
"""
