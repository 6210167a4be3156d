"""Models of speech in a worker: the encoder, whose work is done once for each answer (ADR 0052).

Start with encoder.py. What it makes lies in the slots of the stage, beside keys and values.
"""
