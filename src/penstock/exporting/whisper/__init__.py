"""Whisper's layout: an encoder of sound and a decoder of text, from a checkpoint to two graphs.

Start with architecture.py. Both kinds of checkpoint, Hugging Face's folders and CTranslate2's, come
with the tensor names of the former (ADR 0052).
"""
