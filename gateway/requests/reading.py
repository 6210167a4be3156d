"""From a request's bytes to one that is known to be fine, with raw contents only.

Most requests are short, and read in passing. Those with many parts, with typed contents, or with
long BYTES tensors are read beside the event loop (`offload`), once it is known that they have no
more parts than a request may (`bounds`).
"""

from collections.abc import Mapping, Sequence
from typing import Final

from google.protobuf.message import DecodeError

from penstock.errors import InvalidRequest
from penstock.gateway.offload import Offload
from penstock.gateway.requests.checks import Admitted, admit
from penstock.gateway.requests.kinds.classification import classify
from penstock.gateway.requests.kinds.decoupled import Asked
from penstock.gateway.requests.shared_memory.regions import Regions
from penstock.gateway.requests.shared_memory.tensors import Taken, take
from penstock.protos import bounds, wire
from penstock.protos.contents import make_raw, raw_from_contents
from penstock.protos.grpc_service_pb2 import ModelInferRequest

LONG_STRINGS: Final = 1 << 16
"""Bytes of the BYTES tensors of one request that are checked in passing: some milliseconds."""

_LONG_REPLY: Final = 1 << 18
_DAMAGED: Final = "the message is not an inference.ModelInferRequest: it is damaged or cut off"


def taken_apart(message: bytes) -> wire.Apart:
    """What the request consists of.

    Raises:
        InvalidRequest: it is damaged, or has more fields than a request may.
    """
    try:
        return wire.take_apart(message)
    except wire.Malformed as error:
        raise InvalidRequest(_DAMAGED) from error


class Reading:
    """Reads the requests of one gateway process."""

    def __init__(self, offload: Offload) -> None:
        self._offload = offload

    async def request(self, parts: wire.Apart) -> ModelInferRequest:
        """The request without its raw contents.

        Raises:
            InvalidRequest: it is damaged, or has more parts than a request may.
        """
        if len(parts.head) <= bounds.SHORT_BYTES:
            return _parsed(parts)
        return await self._offload.run(_parsed_bounded, parts)

    async def taken(self, request: ModelInferRequest, parts: wire.Apart, regions: Regions) -> Taken:
        """*request* with its tensors taken out of *regions*; it is changed.

        Raises:
            PenstockError: as `shared_tensors.take`.
        """
        typed: Mapping[str, bytes] = {}
        if len(parts.head) > bounds.SHORT_BYTES and not parts.raws:
            # Only these: regions belong to the event loop, which may close them at any time.
            typed = await self._offload.run(_typed, request)
        return take(request, parts.raws, regions, typed)

    async def admitted(self, asked: Asked) -> tuple[Asked, Admitted]:
        """*asked*, found to be right, with raw contents in place of typed ones.

        Raises:
            InvalidRequest, Unimplemented: as `validation.admit`.
        """
        if _is_long(asked):
            return await self._offload.run(_admitted, asked)
        return _admitted(asked)

    async def classified(self, reply: bytes, asked: Asked, admitted: Admitted) -> bytes:
        """*reply* with classes in place of the outputs for which the request asks for them."""
        if admitted.classes is None:
            return reply
        if len(reply) <= _LONG_REPLY:
            return _classified(reply, asked, admitted.classes)
        return await self._offload.run(_classified, reply, asked, admitted.classes)


def _parsed(parts: wire.Apart) -> ModelInferRequest:
    try:
        request = ModelInferRequest.FromString(parts.head)
    except DecodeError as error:
        raise InvalidRequest(_DAMAGED) from error
    request.id = parts.id
    return request


def _parsed_bounded(parts: wire.Apart) -> ModelInferRequest:
    try:
        bounds.check_head(parts.head, ModelInferRequest)
    except wire.Malformed as error:
        raise InvalidRequest(_DAMAGED) from error
    return _parsed(parts)


def _typed(request: ModelInferRequest) -> dict[str, bytes]:
    """The raw bytes of each input that has typed contents, by name."""
    return {
        tensor.name: raw_from_contents(tensor.datatype, tensor.contents)
        for tensor in request.inputs
        if tensor.HasField("contents")
    }


def _is_long(asked: Asked) -> bool:
    """Whether checking it takes longer than others should wait."""
    request, raws = asked.request, asked.raws
    if not raws:
        # Cheap for most: the size of a message is known from its parts.
        return request.ByteSize() > bounds.SHORT_BYTES
    if sum(map(len, raws)) <= LONG_STRINGS:
        return len(raws) > bounds.SHORT_BYTES // 16
    return any(tensor.datatype == "BYTES" for tensor in request.inputs)


def _admitted(asked: Asked) -> tuple[Asked, Admitted]:
    request = asked.request
    admitted = admit(request, asked.served.rules, asked.raws)
    if not admitted.typed:
        return asked, admitted
    raws = make_raw(request)
    return asked._replace(message=_joined(request, raws), raws=raws), admitted


def _joined(request: ModelInferRequest, raws: Sequence[wire.Buffer]) -> bytes:
    parts: list[wire.Buffer] = [request.SerializeToString()]
    for raw in raws:
        parts += wire.raw_input_field(raw)
    return b"".join(parts)


def _classified(reply: bytes, asked: Asked, classes: Mapping[str, int]) -> bytes:
    deployment = asked.served.deployment
    batched = deployment.config.max_batch_size > 0
    return classify(reply, classes, deployment.labels, batched=batched)
