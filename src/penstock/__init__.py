"""Penstock: a gRPC model-serving cluster.

A base install is the client (`penstock.client`); the roles of a cluster come with the extras
``server``, ``onnx`` and ``torch``. ``docs/architecture.md`` tells how they work together.
"""

__version__ = "0.1.0"
