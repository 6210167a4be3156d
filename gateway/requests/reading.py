"""From a request's bytes to one that is known to be fine, with raw contents only.

Most requests are short, and read in passing. Those with many parts, with typed contents, or with
long BYTES tensors are read beside the event loop (`offload`), once it is known that they have no
more parts than a request may (`bounds`).
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from penstock.errors import InvalidRequest
from penstock.gateway.models.catalog import Catalog, Served
from penstock.gateway.offload import Offload
from penstock.gateway.requests.call import Call
from penstock.gateway.requests.kinds.classification import classify
from penstock.gateway.requests.shared_memory.regions import Regions, TeamRegions, check_local
from penstock.gateway.requests.shared_memory.tensors import Place, Taken, put, take, uses_regions
from penstock.protos import bounds, wire
from penstock.protos.contents import make_raw, raw_from_contents
from penstock.protos.grpc_service_pb2 import ModelInferRequest
from penstock.protos.request_heads import LONGEST_HEAD, RequestHeads
from penstock.scheduler.requests.checks import Admitted, admit

LONG_STRINGS: Final = 1 << 16
"""Bytes of the BYTES tensors of one request that are checked in passing: some milliseconds."""

_LONG_REPLY: Final = 1 << 18
_DAMAGED: Final = "the message is not an inference.ModelInferRequest: it is damaged or cut off"


class Asked(NamedTuple):
    """A request, read, and the version that it is for.

    Attributes:
        message: the request's bytes.
        parts: what they consisted of when they came.
        request: the same without its raw contents, which are *raws*; without its id, too, where it
            is known by an earlier one (`CheckCache`).
        places: outputs that shall go into shared memory.
        call: whoever asks; its deadline is the request's.
        admitted: what its checks found; None until it is checked.
    """

    message: wire.Buffer
    parts: wire.Apart
    request: ModelInferRequest
    raws: Sequence[wire.Buffer]
    places: Mapping[str, Place]
    served: Served
    call: Call
    admitted: Admitted | None = None


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
    """What the checks of one request found, for the next that differs in id and data alone.

    Such requests are asked of the same version and pass the same checks, so they are neither parsed
    nor checked again (ADR 0020). Only what the head of a request decides is kept: not so for text,
    whose data is checked, nor for tensors in shared memory, nor where parameters matter.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._known: RequestHeads[Known] = RequestHeads()

    def __repr__(self) -> str:
        return f"CheckCache({len(self._known)} requests)"

    def find(self, parts: wire.Apart) -> Known | None:
        """What is known of a request that was taken apart so; None if it must be looked at."""
        known = self._known.get(parts.head)
        if known is None or known.sizes != tuple(map(len, parts.raws)):
            return None
        asked = known.request
        if not self._catalog.still_serves(asked.model_name, asked.model_version, known.served):
            return None
        return known

    def remember(
        self, parts: wire.Apart, request: ModelInferRequest, served: Served, admitted: Admitted
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


class Reading:
    """Reads the requests of one gateway process."""

    def __init__(self, catalog: Catalog, regions: Regions | None) -> None:
        """*regions*: shared memory of clients; None where they may not use it."""
        self._catalog = catalog
        self._regions = regions
        self._check_cache = CheckCache(catalog)
        self._offload = Offload()

    def text_models(self) -> list[str]:
        """The names of the models that answer with text, or make embeddings of it."""
        return self._catalog.text_models()

    def known_by_head(self, message: wire.Buffer, parts: wire.Apart, call: Call) -> Asked | None:
        """What a request asks for that is as one before but for its id and data; None for others.

        Args:
            parts: of the *message*.

        Raises:
            PermissionDenied, Unauthenticated: its model is not its caller's.
        """
        known = self._check_cache.find(parts)
        if known is None:
            return None
        request, served, admitted, _ = known
        call.caller.check_model(request.model_name)
        return Asked(message, parts, request, parts.raws, {}, served, call, admitted)

    async def read(self, message: wire.Buffer, parts: wire.Apart, call: Call) -> Asked:
        """What a serialized ModelInferRequest asks for; it is not checked yet.

        Args:
            parts: of the *message*.

        Raises:
            InvalidRequest: it is damaged, or has more parts than a request may.
            PermissionDenied, Unauthenticated: its model is not its caller's, or no model is any
                more.
            ModelNotFound, ModelNotReady, ModelUnloaded: there is no version that takes it.
            PenstockError: as `tensors.take`, for tensors in regions.
        """
        if len(parts.head) <= bounds.SHORT_BYTES:
            request = _parsed(parts)
        else:
            request = await self._offload.run(_parsed_bounded, parts)
        # Whether or not there is such a model, which is nobody else's business.
        call.caller.check_model(request.model_name)
        raws: Sequence[wire.Buffer] = parts.raws
        places: Mapping[str, Place] = {}
        if self._regions is not None and uses_regions(request):
            check_local(local=call.is_local)
            taken = await self._taken(request, parts, self._regions.of(call.caller.name))
            message, raws, places = taken.message, taken.raws, taken.places
        served = self._catalog.served(request.model_name, request.model_version)
        return Asked(message, parts, request, raws, places, served, call)

    async def checked(self, asked: Asked) -> tuple[Asked, Admitted]:
        """*asked*, found to be right, with raw contents in place of typed ones.

        Raises:
            InvalidRequest, Unimplemented: as `checks.admit`.
        """
        if asked.admitted is not None:
            return asked, asked.admitted
        if _is_long(asked):
            right, admitted = await self._offload.run(_admitted, asked)
        else:
            right, admitted = _admitted(asked)
        if asked.raws is asked.parts.raws:
            # Otherwise they are from regions, which hold something else the next time.
            self._check_cache.remember(asked.parts, asked.request, asked.served, admitted)
        return right, admitted

    async def _taken(
        self, request: ModelInferRequest, parts: wire.Apart, regions: TeamRegions
    ) -> Taken:
        """*request* with its tensors taken out of *regions*; it is changed."""
        typed: Mapping[str, bytes] = {}
        if len(parts.head) > bounds.SHORT_BYTES and not parts.raws:
            # Only these: regions belong to the event loop, which may close them at any time.
            typed = await self._offload.run(_typed, request)
        return take(request, parts.raws, regions, typed)

    async def as_asked(self, reply: bytes, asked: Asked, admitted: Admitted) -> bytes:
        """*reply* with classes in place of outputs, or without those that go into regions."""
        if admitted.classes is not None:
            if len(reply) <= _LONG_REPLY:
                reply = _classified(reply, asked, admitted.classes)
            else:
                reply = await self._offload.run(_classified, reply, asked, admitted.classes)
        if asked.places and self._regions is not None:
            reply = put(reply, asked.places, self._regions.of(asked.call.caller.name))
        return reply


def taken_apart(message: wire.Buffer) -> wire.Apart:
    """What the request consists of.

    Raises:
        InvalidRequest: it is damaged, or has more fields than a request may.
    """
    try:
        return wire.take_apart(message)
    except wire.Malformed as error:
        raise InvalidRequest(_DAMAGED) from error


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
        # What is typed lies in the head; to ask the message for its size would visit each element.
        return len(asked.parts.head) > bounds.SHORT_BYTES
    if sum(map(len, raws)) <= LONG_STRINGS:
        return len(raws) > bounds.SHORT_BYTES // 16
    return any(tensor.datatype == "BYTES" for tensor in request.inputs)


def _admitted(asked: Asked) -> tuple[Asked, Admitted]:
    request = asked.request
    admitted = admit(request, asked.served.rules, asked.raws)
    if not admitted.typed:
        return asked, admitted
    raws = make_raw(request)
    message = wire.with_raw_inputs(request.SerializeToString(), raws)
    return asked._replace(message=message, raws=raws), admitted


def _classified(reply: bytes, asked: Asked, classes: Mapping[str, int]) -> bytes:
    deployment = asked.served.deployment
    batched = deployment.config.max_batch_size > 0
    return classify(reply, classes, deployment.labels, batched=batched)
