"""Logs: one structured line per event, written at the boundary where the event is known.

Nothing per request above DEBUG, and never the contents of a tensor. What is written can be
changed while the process runs (`use_logging`).
"""

import logging
import sys
from dataclasses import dataclass
from typing import Any, Final, Literal, TextIO, cast

import structlog

from penstock.process.redaction import redacted

LEVELS = ("debug", "info", "warning", "error")

Stamp = Literal["default", "ISO8601"]
STAMPS: Final[tuple[Stamp, ...]] = ("default", "ISO8601")

_METHODS: Final = {"warn": "warning", "exception": "error", "critical": "error", "fatal": "error"}


@dataclass(frozen=True, slots=True)
class Logging:
    """What this process writes.

    Attributes:
        debug, info, warning, error: whether lines of that level are written.
        stamp: "default" is the time of day in text and ISO 8601 in JSON lines.
    """

    debug: bool = False
    info: bool = True
    warning: bool = True
    error: bool = True
    stamp: Stamp = "default"

    @classmethod
    def from_level(cls, level: str) -> "Logging":
        """*level* and everything above it."""
        least = LEVELS.index(level)
        debug, info, warning, error = (at >= least for at in range(len(LEVELS)))
        return cls(debug, info, warning, error)


class _Current:
    """What the processors look at; a process has one log."""

    logging = Logging()
    stream: TextIO = sys.stderr


class _Stream:
    """Where lines go at this moment."""

    def write(self, text: str) -> int:
        return _Current.stream.write(text)

    def flush(self) -> None:
        _Current.stream.flush()


def configure_logging(role: str, *, level: str = "info", json_lines: bool = False) -> None:
    """Send the process's log to standard error, each line marked with its *role*."""
    _Current.logging = Logging.from_level(level)
    _Current.stream = sys.stderr
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if json_lines
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=28)
    )
    iso = structlog.processors.TimeStamper(fmt="iso")
    default = iso if json_lines else structlog.processors.TimeStamper(fmt="%H:%M:%S.%f")

    def stamp(logger: Any, name: str, event: structlog.typing.EventDict) -> Any:
        chosen = default if _Current.logging.stamp == "default" else iso
        return chosen(logger, name, event)

    structlog.configure(
        processors=[
            _drop_unwanted,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            stamp,
            structlog.processors.format_exc_info,
            renderer,
            _hide_secrets,
        ],
        # Everything reaches the processors, which know what is wanted at this moment.
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Stream())),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(role=role)
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Redacting())


def current_logging() -> Logging:
    """What this process writes now."""
    return _Current.logging


def use_logging(logging: Logging) -> None:
    """Write what *logging* says from now on."""
    _Current.logging = logging


def log_to(stream: TextIO) -> None:
    """Write the process's log to *stream* from now on."""
    _Current.stream = stream


def _hide_secrets(_: Any, __: str, line: Any) -> str:
    return redacted(line)


class _Redacting(logging.Formatter):
    """For what libraries say by Python's own logging, as asyncio does of tasks that failed."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


def _drop_unwanted(
    _: Any, name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    if getattr(_Current.logging, _METHODS.get(name, name)):
        return event
    raise structlog.DropEvent
