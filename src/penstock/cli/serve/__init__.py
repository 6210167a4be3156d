"""Commands that run Penstock: one role each, or all of them on this machine."""
