"""Tools: functions that an answer may call, and what is said of its calls. Pure.

Start with asked.py, what a body may ask for; messages.py tells models of it, calls.py reads them.
"""
