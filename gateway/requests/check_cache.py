"""What the checks of one request found, for the next that differs in its id and its data alone.

Such requests are asked of the same version and pass the same checks, so they are neither parsed nor
checked again. Only what the head of a request decides is kept: not so for text, whose data is
checked, nor for tensors in shared memory, nor where parameters matter.
"""

from typing import NamedTuple

from penstock.gateway.models.catalog import Catalog, Served
from penstock.gateway.requests.checks import Admitted
from penstock.protos.grpc_service_pb2 import ModelInferRequest
from penstock.protos.request_heads import LONGEST_HEAD, RequestHeads
from penstock.protos.wire import Apart


class Known(NamedTuple):
    """What an earlier request told.

    Attributes:
        request: it, without its id and its data.
        sizes: bytes of each of its raw contents.
    """

    request: ModelInferRequest
    served: Served
    admitted: Admitted
    sizes: tuple[int, ...]


class CheckCache:
    """The requests that a gateway has seen."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._known: RequestHeads[Known] = RequestHeads()

    def __repr__(self) -> str:
        return f"CheckCache({len(self._known)} requests)"

    def find(self, parts: Apart) -> Known | None:
        """What is known of a request that was taken apart so; None if it must be looked at."""
        known = self._known.get(parts.head)
        if known is None or known.sizes != tuple(map(len, parts.raws)):
            return None
        asked = known.request
        if not self._catalog.still_serves(asked.model_name, asked.model_version, known.served):
            return None
        return known

    def remember(
        self, parts: Apart, request: ModelInferRequest, served: Served, admitted: Admitted
    ) -> None:
        """Remember a request that was found to be fine, if another may be known by it."""
        if admitted.typed or served.sequences is not None:
            return
        if request.parameters or any(tensor.datatype == "BYTES" for tensor in request.inputs):
            return
        if len(parts.head) > LONGEST_HEAD:
            return
        nobodys = ModelInferRequest.FromString(parts.head)
        sizes = tuple(map(len, parts.raws))
        self._known.remember(parts.head, Known(nobodys, served, admitted, sizes))
