"""Loads: h2load for small requests, bare sockets for large ones, and who judges answers."""
