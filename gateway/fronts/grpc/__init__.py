"""The gRPC front: Triton's protocol, penstock.v1.Cluster, health, and who may call what.

Start with server.py; inference_service.py has each RPC of the Open Inference Protocol.
"""
