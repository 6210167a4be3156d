"""The OpenAI API over language models: completions, chat, and which models there are.

Start with api.py; asked.py says what a body may ask for, shapes.py what answers look like.
"""
