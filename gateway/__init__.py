"""The front door: the gRPC server that speaks Triton's protocol to clients."""
