"""The files of a model repository: found, known by their bytes, checked.

Start with repository.py.
"""
