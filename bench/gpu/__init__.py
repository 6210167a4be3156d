"""What only a machine with an NVIDIA GPU can show: `python -m gpu`, the checks; their models."""
