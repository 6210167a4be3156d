"""The logger of Triton's Python models: what they say goes into the worker's log."""

import inspect
from enum import IntEnum
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger()


class _LogLevel(IntEnum):
    INFO = 0
    WARNING = 1
    ERROR = 2
    VERBOSE = 3


class Logger:
    """All of its methods belong to the class; each line says where in the model it was written."""

    LogLevel: Final = _LogLevel
    INFO: Final = _LogLevel.INFO
    WARNING: Final = _LogLevel.WARNING
    ERROR: Final = _LogLevel.ERROR
    VERBOSE: Final = _LogLevel.VERBOSE

    @staticmethod
    def log(message: str, level: int = _LogLevel.INFO) -> None:
        """Write *message* at a level; verbose ones are shown at the log level DEBUG."""
        _write(message, _LogLevel(level))

    @staticmethod
    def log_info(message: str) -> None:
        """Write *message* as information."""
        _write(message, _LogLevel.INFO)

    @staticmethod
    def log_warn(message: str) -> None:
        """Write *message* as a warning."""
        _write(message, _LogLevel.WARNING)

    @staticmethod
    def log_error(message: str) -> None:
        """Write *message* as an error."""
        _write(message, _LogLevel.ERROR)

    @staticmethod
    def log_verbose(message: str) -> None:
        """Write *message* for those who look closely."""
        _write(message, _LogLevel.VERBOSE)


def _write(message: str, level: _LogLevel) -> None:
    write = {
        _LogLevel.INFO: log.info,
        _LogLevel.WARNING: log.warning,
        _LogLevel.ERROR: log.error,
        _LogLevel.VERBOSE: log.debug,
    }[level]
    write("the model says", text=str(message), at=_caller())


def _caller() -> str:
    """File and line in the model's code that asked for this line."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return "" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
