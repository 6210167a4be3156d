"""Commands that say who may call a cluster."""
