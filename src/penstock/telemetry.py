"""Logs: one structured line per event, written at the boundary where the event is known.

Nothing per request above DEBUG, and never the contents of a tensor.
"""

import logging
import sys

import structlog

LEVELS = ("debug", "info", "warning", "error")


def configure_logging(role: str, *, level: str = "info", json_lines: bool = False) -> None:
    """Send the process's log to standard error, each line marked with its *role*."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if json_lines
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=28)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S.%f" if not json_lines else "iso"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(role=role)
