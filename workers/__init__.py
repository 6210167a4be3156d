"""Workers: one process, one device, one shard."""
