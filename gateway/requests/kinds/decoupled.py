"""Decoupled models: any number of responses to a request, which only a stream can carry."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from penstock.errors import Unimplemented
from penstock.gateway.models.catalog import Served
from penstock.gateway.requests.shared_memory.tensors import Place
from penstock.protos import wire
from penstock.protos.grpc_service_pb2 import ModelInferRequest


class Asked(NamedTuple):
    """A request, read, and the version that it is for.

    Attributes:
        message: the request's bytes.
        request: the same without its raw contents, which are *raws*; without its id, too, where it
            is known by an earlier one (familiar.py).
        places: outputs that shall go into shared memory.
        remaining_s: to its deadline.
        arrived_ns: when it came, where requests are traced.
    """

    message: bytes
    request: ModelInferRequest
    raws: Sequence[wire.Buffer]
    places: Mapping[str, Place]
    served: Served
    remaining_s: float
    arrived_ns: int


class Decoupled(Unimplemented):
    """The request is for a decoupled model: one answer is not to be had; a stream goes on."""

    def __init__(self, asked: Asked) -> None:
        super().__init__("ModelInfer RPC doesn't support models with decoupled transaction policy")
        self.asked = asked


def wants_final(request: ModelInferRequest) -> bool:
    """Whether the client asked for the final response, which holds nothing."""
    key = "triton_enable_empty_final_response"
    return key in request.parameters and request.parameters[key].bool_param
