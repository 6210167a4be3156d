"""Language models: from text to a job's tokens, and from the tokens of its log to text.

Start with resuming.py, which opens each answer; answer.py makes it, prompts.py reads what is asked.
"""
