"""The HTTP front: where Prometheus reads metrics."""
