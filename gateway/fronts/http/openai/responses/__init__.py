"""The Responses API over language models: answers that may go on in the background, and be fetched.

Start with api.py; asked.py says what a body may ask for, events.py what is said of an answer.
"""
