"""Models as this gateway knows them, and as clients load and unload them.

Start with catalog.py.
"""
