"""Python models of Penstock's own contract: code in the repository. Start with runtime.py."""
