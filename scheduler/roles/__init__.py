"""Roles: the loops that one scheduler process runs, each on its own."""
