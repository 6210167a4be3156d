"""Cutting one model into pipeline stages, each an artifact that a worker can hold.

``cuts`` decides where (pure), ``graph`` says what a cut means for any model (pure), ``onnx_*``
and ``torch_*`` read and write the two kinds of artifact, and ``comparison`` proves that the
stages in a row answer as the whole model does. docs/adr/0004-sharding.md tells why.

The stages of a request share one set of named tensors: a stage reads its inputs by name from the
request's inputs and the outputs of every earlier stage.
"""
