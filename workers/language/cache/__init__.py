"""Caches: what a stage keeps of the sequences in its slots, in the memory that it computes in.

Start with cache.py. host.py is arrays of numpy, device.py whatever ONNX Runtime computes on; what
must be true of a device is tried in proof.py, when a stage is loaded (ADR 0054).
"""
