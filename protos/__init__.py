"""The wire protocol: ``.proto`` sources and the stubs generated from them.

``grpc_service.proto`` and ``model_config.proto`` are the Open Inference Protocol with Triton's
extensions (package ``inference``); ``cluster.proto`` and ``hops.proto`` are Penstock's own (package
``penstock.v1``). Run ``make protos`` after a change.
"""
