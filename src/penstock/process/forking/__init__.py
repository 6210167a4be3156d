"""Starts other processes: as programs, or forked from one that has imported all they need."""
