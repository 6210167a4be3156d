"""The access log: a line for each call: who asked what of which model, and what came of it.

Nothing that was sent beside a request is in it, so no secret is; what clients have made up, such as
a model's name, is cut short.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from penstock.clock import monotonic
from penstock.errors import InvalidConfiguration
from penstock.gateway.access.caller import Caller

log = structlog.get_logger()

_LONGEST: Final = 256
_LOOK_EVERY_S: Final = 1.0
"""How long lines may go on to a file that was moved away."""


class Ended(NamedTuple):
    """A call that has ended.

    Attributes:
        caller: who asked, and `peer` from where.
        protocol: "grpc" or "http".
        method: as in "inference.GRPCInferenceService/ModelInfer"; over HTTP that which the route
            stands for, or the route.
        model: that it is about; of a stream the first. Empty for none.
        code: the status, by its name over gRPC and by its number over HTTP.
        seconds: from its beginning to its end.
        received, sent: bytes of messages, or of bodies, as they are without compression.
    """

    caller: Caller
    peer: str
    protocol: str
    method: str
    model: str
    code: str | int
    seconds: float
    received: int
    sent: int


class AccessLog:
    """A file to which lines are added; who moves it away finds a new one in its place."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            InvalidConfiguration: it cannot be written.
        """
        self._path = path
        try:
            self._handle = self._opened()
        except OSError as error:
            raise InvalidConfiguration(
                f"--access-log: {path} cannot be written: {error.strerror}"
            ) from error
        self._looked_s = monotonic()
        self._failing = False

    def write(self, call: Ended) -> None:
        """Add its line, in one write: other processes may write there, too."""
        line = json.dumps(_fields(call), separators=(",", ":")) + "\n"
        try:
            self._look()
            os.write(self._handle, line.encode())
        except OSError as error:
            if not self._failing:
                log.error("calls are missing in the access log", error=str(error))  # noqa: TRY400
            self._failing = True
        else:
            self._failing = False

    def close(self) -> None:
        """Write no more."""
        os.close(self._handle)

    def _look(self) -> None:
        now_s = monotonic()
        if now_s - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = now_s
        try:
            same = os.path.samestat(os.fstat(self._handle), self._path.stat())
        except FileNotFoundError:
            same = False
        if not same:
            before, self._handle = self._handle, self._opened()
            os.close(before)

    def _opened(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self._path, flags, 0o640)


def _fields(call: Ended) -> dict[str, object]:
    return {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "caller": call.caller.name,
        "key": call.caller.key,
        "peer": call.peer,
        "protocol": call.protocol,
        "method": call.method[:_LONGEST],
        "model": call.model[:_LONGEST],
        "code": call.code,
        "seconds": round(call.seconds, 6),
        "bytes_received": call.received,
        "bytes_sent": call.sent,
    }
