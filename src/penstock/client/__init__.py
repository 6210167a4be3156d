"""The client: numpy arrays in, numpy arrays out, over one channel to any number of gateways.

    with Client("127.0.0.1:8001") as client:
        result = client.infer("digits", {"image": image})
        result["probabilities"]

`AsyncClient` offers the same for asyncio. Calls carry a deadline; those that a gateway could not
take are repeated within it. Needs only grpcio, protobuf and numpy.
"""

from penstock.client.aio import AsyncClient
from penstock.client.blocking import Client
from penstock.client.encoding import BFloat16, InferResult, bf16
from penstock.client.failures import CallFailed, Unavailable, Unreachable
from penstock.client.retry import RetryPolicy

__all__ = [
    "AsyncClient",
    "BFloat16",
    "CallFailed",
    "Client",
    "InferResult",
    "RetryPolicy",
    "Unavailable",
    "Unreachable",
    "bf16",
]
