"""What a worker does before it takes requests: verify files, prove batching, warm up."""
