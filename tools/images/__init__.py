"""The images of ``deploy/images``: what goes into them, locked by hash, and how they are built.

``__main__.py`` builds one; ``base.py`` has what is below all of them, ``contents.py`` what is
installed, ``locks.py`` which versions that are.
"""
