"""Penstock beside other model servers, on the same models and machine: `make bench-peers`."""
