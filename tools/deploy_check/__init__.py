"""Everything in ``deploy/``, run: charts rendered, rules tried, alerts fired.

A check is a function that looks at one kind of thing and says how much it looked at (`check.py`);
each module has its own in ``CHECKS``, and ``__main__.py`` runs them all. ``fetched.py`` brings the
programs that they run, pinned by version and hash.
"""
