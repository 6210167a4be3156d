"""The call log: what each protocol's calls have in the access log, seen from outside of them."""

import asyncio
from collections.abc import Sequence
from typing import Final

from penstock.clock import AT_THE_END_S, monotonic
from penstock.errors import Code
from penstock.gateway.access.needs import RPCS
from penstock.gateway.fronts.grpc.rpc import Method, Methods, Rpc
from penstock.gateway.operations.access_log import AccessLog, Ended
from penstock.gateway.requests.call import Call
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import wire

_SERVICE: Final = "inference.GRPCInferenceService/"
_MOST_FIELDS: Final = 16
"""Of a request, in which its model's name is looked for: clients write it first."""

_LONGEST: Final = 256
"""Bytes of a model's name."""


def logged(methods: Methods, log: AccessLog) -> dict[str, Method]:
    """*methods*, each of whose calls has a line in *log* once it has ended, whoever refused it."""
    return {path: _logged(path.lstrip("/"), method, log) for path, method in methods.items()}


def _logged(path: str, method: Method, log: AccessLog) -> Method:
    handle, tag = method.handle, _tag_of_model(path)

    async def noting(rpc: Rpc) -> bytes | None:
        noted = _Noted(rpc, tag)
        began_s = monotonic()
        try:
            reply = await handle(noted)
        except asyncio.CancelledError:
            late = rpc.call.deadline.remaining_s() <= AT_THE_END_S
            noted.code = Code.DEADLINE_EXCEEDED if late else Code.CANCELLED
            raise
        except BaseException:
            noted.code = Code.UNKNOWN
            raise
        else:
            if reply is not None and noted.code is Code.OK:
                noted.sent += len(reply)
            return reply
        finally:
            log.write(noted.ended(path, monotonic() - began_s))

    return method._replace(handle=noting)


class _Noted:
    """An RPC whose messages are counted, and whose status is noted.

    Attributes:
        code: its status.
        sent: bytes of its replies.
    """

    __slots__ = ("_model", "_received", "_rpc", "_tag", "code", "sent")

    def __init__(self, rpc: Rpc, tag: int | None) -> None:
        """*tag*: of the field that has the model's name in a message of it."""
        self._rpc = rpc
        self._tag = tag
        self._model = ""
        self._received = self.sent = 0
        self.code = Code.OK

    @property
    def call(self) -> Call:
        """As `Rpc.call`."""
        return self._rpc.call

    @call.setter
    def call(self, call: Call) -> None:
        self._rpc.call = call

    async def read(self) -> object:
        """As `Rpc.read`."""
        message = await self._rpc.read()
        if isinstance(message, bytes | memoryview):
            if not self._received and self._tag is not None:
                self._model = _text_in(message, self._tag)
            self._received += len(message)
        return message

    async def write(self, message: bytes) -> None:
        """As `Rpc.write`."""
        self.sent += len(message)
        await self._rpc.write(message)

    def fail(self, status: int, text: str, trailing: Sequence[tuple[str, str]]) -> None:
        """As `Rpc.fail`."""
        self.code = Code(status)
        self._rpc.fail(status, text, trailing)

    def ended(self, path: str, seconds: float) -> Ended:
        """What the log has of it."""
        call = self._rpc.call
        return Ended(
            call.caller,
            call.connection,
            "grpc",
            path,
            self._model,
            self.code.name,
            seconds,
            self._received,
            self.sent,
        )


def _tag_of_model(path: str) -> int | None:
    """The tag of the field in which requests to the method *path* name their model, if they do."""
    need = RPCS.get(path)
    if need is None or not path.startswith(_SERVICE):
        return None
    service = pb.DESCRIPTOR.services_by_name[_SERVICE.rpartition(".")[2].rstrip("/")]
    kind = service.methods_by_name[path.removeprefix(_SERVICE)].input_type
    # ModelInfer's model is looked at elsewhere, so that the table has no field of it.
    field = kind.fields_by_name.get(need.field or "model_name")
    return None if field is None else field.number << 3 | 2


def _text_in(message: wire.Buffer, tag: int) -> str:
    """The text in the first field of *message* that has this *tag*; empty where there is none."""
    at, end = 0, len(message)
    try:
        for _ in range(_MOST_FIELDS):
            if at >= end:
                break
            found, after, data = wire.next_field(message, at, end)
            if found == tag:
                return str(message[data : min(after, data + _LONGEST)], errors="replace")
            at = after
    except (wire.Malformed, IndexError):
        pass
    return ""
