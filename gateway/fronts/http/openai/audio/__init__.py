"""Transcriptions, as the OpenAI API has them: a form with a file, windows of it, and their text.

Start with api.py; forms.py reads multipart/form-data, and asked.py says what may be in it.
"""
