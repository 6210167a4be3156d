"""The logging extension: what gateways write to their logs, by Triton's settings.

`log_verbose_level` above 0 shows lines of level debug. Where the log goes is decided where the
process is started, not over the network. A setting without a value stays as it is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from penstock.errors import InvalidRequest, Unimplemented
from penstock.protos import grpc_service_pb2 as pb
from penstock.telemetry import STAMPS, Logging

_KINDS: Final = {
    "log_file": "string_param",
    "log_info": "bool_param",
    "log_warning": "bool_param",
    "log_error": "bool_param",
    "log_verbose_level": "uint32_param",
    "log_format": "string_param",
}
_CHANGES: Final[dict[str, Callable[[Any], dict[str, Any]]]] = {
    "log_info": lambda value: {"info": value},
    "log_warning": lambda value: {"warning": value},
    "log_error": lambda value: {"error": value},
    "log_verbose_level": lambda value: {"debug": value > 0},
    "log_format": lambda value: {"stamp": value},
}


def log_changes(request: pb.LogSettingsRequest) -> dict[str, bool | int | str]:
    """What *request* changes, by setting.

    Raises:
        InvalidRequest: there is no such setting, or its value cannot be.
        Unimplemented: it cannot be changed over the network.
    """
    given = {name: _given(name, setting) for name, setting in request.settings.items()}
    return {name: value for name, value in given.items() if value is not None}


def logging_with(settings: Mapping[str, bool | int | str]) -> dict[str, Any]:
    """The fields of `Logging` that *settings* stand for."""
    changes: dict[str, Any] = {}
    for name, value in settings.items():
        changes |= _CHANGES[name](value)
    return changes


def check_kept_log(name: str, values: Sequence[bool | int | str]) -> None:
    """Refuse a setting from the registry that is none, or cannot have its value.

    Raises:
        InvalidRequest: as `log_changes`.
    """
    (value,) = values
    message = pb.LogSettingsRequest()
    setattr(message.settings[name], _KINDS[name], value)
    log_changes(message)


def _given(name: str, setting: pb.LogSettingsRequest.SettingValue) -> bool | int | str | None:
    kind = _KINDS.get(name)
    if kind is None:
        raise InvalidRequest(f"there is no log setting '{name}', only {', '.join(_KINDS)}")
    given = setting.WhichOneof("parameter_choice")
    if given is None:
        return None
    if given != kind:
        raise InvalidRequest(f"expect log setting '{name}' to be {kind}, got {given}")
    if name == "log_file":
        raise Unimplemented("log file location can not be updated through network protocol")
    value: bool | int | str = getattr(setting, kind)
    if name == "log_format" and value not in STAMPS:
        raise InvalidRequest(f"log_format '{value}' is none of {', '.join(STAMPS)}")
    return value


def shown_logging(logging: Logging) -> pb.LogSettingsResponse:
    """*logging* by Triton's settings."""
    value = pb.LogSettingsResponse.SettingValue
    return pb.LogSettingsResponse(
        settings={
            "log_file": value(string_param=""),
            "log_info": value(bool_param=logging.info),
            "log_warning": value(bool_param=logging.warning),
            "log_error": value(bool_param=logging.error),
            "log_verbose_level": value(uint32_param=int(logging.debug)),
            "log_format": value(string_param=logging.stamp),
        }
    )
