"""Signs of life of a worker: its record, its heartbeat, its leases."""
