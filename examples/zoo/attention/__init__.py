"""Attention: a network that says which words it looked at.

Each word of a snippet about a film gets a score, the scores become weights that sum to one, and
the opinion is read from the weighted mean. The weights come back with the answer, so one sees why.
It is held against VADER, a lexicon and rules that people wrote, on the same ratings by people.
"""
