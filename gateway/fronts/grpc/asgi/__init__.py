"""gRPC over ASGI: the second server of RPCs, for gateways whose small requests should cost little.

Start with app.py; rpc.py has the life of one RPC, wire.py what gRPC writes over HTTP/2.
"""
