"""Runtimes: each holds one shard on one device, and runs it on arrays.

The only place that imports onnxruntime and torch, and only in the module of the runtime that is
asked for. Start with runtime.py; docs/add-a-runtime.md tells how to add one.
"""
