"""The images of ``deploy/images``: what goes into them, locked by hash, and how they are built.

``__main__.py`` builds one (`image.py`); ``base.py`` has what is below all, ``contents.py`` what is
installed, ``locks.py`` which versions that are.
"""
