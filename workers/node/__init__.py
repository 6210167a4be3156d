"""The node agent: it registers this machine, and starts and watches its workers.

Start with agent.py.
"""
