"""The trace extension: where the time of single requests goes, as JSON lines in a file.

One request in `trace_rate` is traced while the level is TIMESTAMPS, at most `trace_count` of
them; a model may have settings of its own. The gateway marks a traced request with a parameter,
and each worker on its way adds what it knows. The file is named where the gateway is started, on
its own machine, and cannot be changed over the network.
"""

import json
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import structlog

from penstock.errors import InvalidRequest, Unimplemented
from penstock.gateway.access.caller import ANYBODY, Caller
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import wire
from penstock.scheduler.jobs.types import TRACE
from penstock.scheduler.registry.cluster_settings import Setting
from penstock.scheduler.registry.snapshot import VersionId
from penstock.scheduler.requests.parts import Part

log = structlog.get_logger()

_MARK = pb.ModelInferRequest()
_MARK.parameters[TRACE].bool_param = True
MARK: Final = _MARK.SerializeToString()
"""Behind a serialized request, it makes workers add their timings."""

_LEVELS: Final = ("OFF", "TIMESTAMPS")
_FIXED: Final = ("trace_file", "trace_mode")
_UNLIMITED: Final = -1


@dataclass(slots=True)
class _Terms:
    """What is traced, of one model or of all that have no settings of their own.

    Attributes:
        set_by: stamps of the calls that set them.
        seen: requests since the settings changed.
        left: traces still to be made; negative for any number.
    """

    level: str = "OFF"
    rate: int = 1000
    count: int = _UNLIMITED
    set_by: frozenset[str] = frozenset()
    seen: int = 0
    left: int = _UNLIMITED

    def with_settings(self, settings: Mapping[str, Setting]) -> "_Terms":
        """Terms that begin anew with *settings*, and are like these in all others."""
        terms = replace(self, set_by=self.set_by | {kept.stamp for kept in settings.values()})
        for name, kept in settings.items():
            setattr(terms, *_field(name, list(map(str, kept.values))))
        terms.seen, terms.left = 0, terms.count
        return terms

    def chooses(self) -> bool:
        """Whether the next request is one to be traced."""
        if self.level == "OFF" or self.left == 0:
            return False
        self.seen += 1
        if (self.seen - 1) % self.rate:
            return False
        self.left -= self.left > 0
        return True


@dataclass(slots=True)
class Trace:
    """One request that is traced; times are nanoseconds since 1970 on the gateway's clock."""

    tracing: "Tracing"
    id: int
    version: VersionId
    request_id: str
    arrived_ns: int
    caller: Caller = ANYBODY

    async def follow(self, answering: Awaitable[bytes]) -> bytes:
        """Await the reply and write down how it came; returns it without the workers' timings."""
        queued_ns = time.time_ns()
        try:
            reply = await answering
        except BaseException as error:
            self._write(queued_ns, (), error=str(error) or type(error).__name__)
            raise
        reply, steps = _parted(reply)
        self._write(queued_ns, steps)
        return reply

    async def follow_all(self, parts: AsyncGenerator[Part, None]) -> AsyncGenerator[Part, None]:
        """As `follow`, for a reply in parts: how it came is what its end tells."""
        queued_ns = time.time_ns()
        steps: list[Any] = []
        try:
            async with aclosing(parts):
                async for part in parts:
                    body, steps = _parted(part.body)
                    yield Part(body, part.final)
        except BaseException as error:
            self._write(queued_ns, (), error=str(error) or type(error).__name__)
            raise
        self._write(queued_ns, steps)

    def _write(self, queued_ns: int, steps: Sequence[Any], **more: Any) -> None:
        stamps = {
            "REQUEST_START": self.arrived_ns,
            "QUEUE_START": queued_ns,
            "REQUEST_END": time.time_ns(),
        }
        self.tracing.write(
            {
                "id": self.id,
                "model_name": self.version.model,
                "model_version": str(self.version.version),
                "request_id": self.request_id,
                **self.caller.fields,
                "timestamps": [{"name": name, "ns": ns} for name, ns in stamps.items()],
                "steps": list(steps),
                **more,
            }
        )


@dataclass(slots=True)
class Tracing:
    """The traces of one gateway process.

    Attributes:
        file: where they are written; None when none was named, and nothing can be traced.
        on: whether any request may be traced.
    """

    file: Path | None
    on: bool = False
    _all: _Terms = field(default_factory=_Terms)
    _models: dict[str, _Terms] = field(default_factory=dict)
    _ids: "count[int]" = field(default_factory=lambda: count(1))

    def begin(
        self, version: VersionId, request_id: str, arrived_ns: int, caller: Caller = ANYBODY
    ) -> Trace | None:
        """A trace, if this request is one to be traced."""
        if not self._models.get(version.model, self._all).chooses():
            return None
        return Trace(self, next(self._ids), version, request_id, arrived_ns, caller)

    def changes(self, request: pb.TraceSettingRequest) -> dict[str, tuple[str, ...]]:
        """What *request* changes, by setting; no values where one is cleared.

        Raises:
            InvalidRequest: there is no such setting, or its value cannot be.
            Unimplemented: it cannot be changed over the network, or is not offered.
        """
        found = {name: tuple(setting.value) for name, setting in request.settings.items()}
        return {name: values for name, values in found.items() if self._changes(name, values)}

    def use(self, settings: Mapping[str, Mapping[str, Setting]]) -> None:
        """Trace by *settings*, by model; those of the model "" are for all others.

        What did not change goes on counting.
        """
        self._all = _renewed(self._all, _Terms().with_settings(settings.get("", {})))
        self._models = {
            model: _renewed(self._models.get(model), self._all.with_settings(own))
            for model, own in settings.items()
            if model
        }
        wanted = any(t.level != "OFF" for t in (self._all, *self._models.values()))
        self.on = wanted and self.file is not None

    def shown(self, model: str = "") -> pb.TraceSettingResponse:
        """Every setting, of one model or of those that have none of their own."""
        terms = self._models.get(model, self._all)
        shown = {
            "trace_level": terms.level,
            "trace_rate": str(terms.rate),
            "trace_count": str(terms.left),
            "log_frequency": "0",
            "trace_file": str(self.file or ""),
            "trace_mode": "triton",
        }
        value = pb.TraceSettingResponse.SettingValue
        return pb.TraceSettingResponse(settings={k: value(value=[v]) for k, v in shown.items()})

    def write(self, trace: Mapping[str, Any]) -> None:
        """Add a line to the file; a file that cannot be written ends all tracing."""
        if self.file is None:
            return
        line = json.dumps(trace, separators=(",", ":")) + "\n"
        try:
            # One write of a whole line, appended: other processes may write there, too.
            handle = os.open(
                self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640
            )
            try:
                os.write(handle, line.encode())
            finally:
                os.close(handle)
        except OSError as error:
            self.on = False
            log.error("tracing ends: the trace file cannot be written", error=str(error))  # noqa: TRY400

    def _changes(self, name: str, values: Sequence[str]) -> bool:
        """Whether it is a setting that can change; a value that cannot be is refused."""
        if name in _FIXED and values:
            what = name.replace("_", " ")
            raise Unimplemented(f"{what} can not be updated through network protocol")
        if name == "log_frequency" and values and list(values) != ["0"]:
            raise Unimplemented("log_frequency is not offered: all traces go to one file")
        if name in (*_FIXED, "log_frequency"):
            return False
        if name not in _FIELDS:
            raise InvalidRequest(f"there is no trace setting '{name}'")
        if values and _field(name, values) == ("level", "TIMESTAMPS") and self.file is None:
            raise InvalidRequest("there is no trace file: start the gateway with --trace-file FILE")
        return True


def check_kept(name: str, values: Sequence[Any]) -> None:
    """Refuse a setting from the registry that is none, or cannot have its values.

    Raises:
        LookupError, InvalidRequest, Unimplemented: it is so.
    """
    _field(name, list(map(str, values)))


def _renewed(before: _Terms | None, after: _Terms) -> _Terms:
    return before if before is not None and before.set_by == after.set_by else after


def _field(name: str, values: Sequence[str]) -> tuple[str, Any]:
    """The field of `_Terms` that a setting stands for, and its value."""
    field_, parse = _FIELDS[name]
    return field_, parse(name, values)


def _level(_: str, values: Sequence[str]) -> str:
    if "TENSORS" in values:
        raise Unimplemented("trace level TENSORS is not offered: tensors are never written")
    for value in values:
        if value not in _LEVELS:
            raise InvalidRequest(f"trace level '{value}' is none of {', '.join(_LEVELS)}")
    return "TIMESTAMPS" if "TIMESTAMPS" in values else "OFF"


def _number(name: str, values: Sequence[str], least: int) -> int:
    try:
        (number,) = map(int, values)
    except ValueError:
        raise InvalidRequest(f"{name} must be one whole number, not {list(values)}") from None
    if number < least or number >= 2**63:
        raise InvalidRequest(f"{name} must be at least {least}, not {number}")
    return number


_FIELDS: Final[Mapping[str, tuple[str, Callable[[str, Sequence[str]], Any]]]] = {
    "trace_level": ("level", _level),
    "trace_rate": ("rate", partial(_number, least=1)),
    "trace_count": ("count", partial(_number, least=_UNLIMITED)),
}


def _parted(reply: bytes) -> tuple[bytes, list[Any]]:
    """The reply as its client gets it, and what the workers said of it."""
    head, raws = wire.split_response(reply)
    response = pb.ModelInferResponse.FromString(head)
    if TRACE not in response.parameters:
        return reply, []
    steps = json.loads(response.parameters[TRACE].string_param)
    del response.parameters[TRACE]
    return wire.with_raw_outputs(response.SerializeToString(), raws), steps
