"""gRPC by grpc.aio: the first server of RPCs, which needs nothing beside grpcio.

Start with server.py; accepting.py has several calls of a method begin at a time.
"""
