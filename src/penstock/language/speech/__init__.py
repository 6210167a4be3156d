"""Speech: from samples to what an encoder hears, and from tokens to a transcript. Pure.

Start with tokens.py, what a model of Whisper's layout has beside a text model; rules.py says which
token may come next, as a function of the request and of its log (ADR 0052).
"""
