"""This process and its machine: memory, children, signals, and what its words may tell."""
