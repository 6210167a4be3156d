"""The parameters of RepositoryModelLoad: a configuration, and files, in place of a repository's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from penstock.errors import Code, InvalidConfiguration, InvalidRequest, PenstockError
from penstock.models.config.model_config import parse_json
from penstock.models.files.uploaded_files import LONGEST_NAME, check_uploaded, is_override_path
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb
from penstock.scheduler.registry.load_requests import NOT_THERE

_CONFIG: Final = "config"
_FILE: Final = "file:"
_MIB: Final = 1 << 20

_LONGEST_SHOWN: Final = 80

LONGEST_CONFIG: Final = 256 << 10
"""Characters of a configuration that comes with a load request to load."""


class LoadFailed(PenstockError):
    """The model cannot be loaded; its text says why, beginning with Triton's words."""

    code = Code.INTERNAL

    def __init__(self, model: str, why: str) -> None:
        super().__init__(f"failed to load '{model}', {why}")


class VersionsFailed(PenstockError):
    """Some of the model's versions cannot be loaded: Triton's words, and each one's reason."""

    code = Code.INVALID_ARGUMENT

    def __init__(self, model: str, reasons: Mapping[int, str]) -> None:
        states = (
            f"version {number} is at UNAVAILABLE state: {why};" for number, why in reasons.items()
        )
        super().__init__(f"load failed for model '{model}': {''.join(states)}")


@dataclass(frozen=True, slots=True)
class LoadTerms:
    """What a model is to be loaded with.

    Attributes:
        files: path below the model's directory -> content; they need a configuration.
    """

    config: config_pb.ModelConfig | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


def check_name(model: str) -> None:
    """Refuse a name that cannot be a model's.

    Raises:
        InvalidRequest: with Triton's words.
    """
    if not model:
        raise InvalidRequest("Model name cannot be empty. Please enter a valid name to deploy.")
    if len(model.encode()) > LONGEST_NAME:
        raise InvalidRequest(
            f"invalid model name '{model[:40]}...', model name must not be longer than "
            f"{LONGEST_NAME} bytes"
        )
    if model in (".", "..") or any(character in model for character in "/\\\0"):
        raise InvalidRequest(
            f"invalid model name '{model}', model name must not contain path traversal characters"
        )


def read_terms(
    request: pb.RepositoryModelLoadRequest, most_file_mib: int, *, allow_code: bool = False
) -> LoadTerms:
    """The terms of a load.

    Args:
        allow_code: whether its files may be code.

    Raises:
        InvalidRequest: a parameter that there is not, of the wrong type, or too large.
        LoadFailed: the configuration or a file's name cannot be, or a file may be code.
    """
    # Of several faults the same is told each time, whatever the order of the message's map.
    keys = sorted(request.parameters)
    for key in keys:
        _check_parameter(key, request.parameters[key])
    files = {
        _path(request.model_name, key): request.parameters[key].bytes_param
        for key in keys
        if key.startswith(_FILE)
    }
    if files and _CONFIG not in keys:
        raise LoadFailed(
            request.model_name, f"{NOT_THERE}: files of an override need the 'config' parameter"
        )
    config: config_pb.ModelConfig | None = None
    try:
        if _CONFIG in keys:
            config = _config(request.model_name, request.parameters[_CONFIG].string_param)
        _check_sizes(files, most_file_mib)
        if config is not None and not allow_code:
            check_uploaded(config, files)
    except InvalidConfiguration as error:
        raise LoadFailed(request.model_name, f"{NOT_THERE}: {error}") from error
    return LoadTerms(config, files)


def _config(model: str, text: str) -> config_pb.ModelConfig:
    if len(text) > LONGEST_CONFIG:
        raise InvalidRequest(
            f"the parameter 'config' may have {LONGEST_CONFIG} characters, and this one has "
            f"{len(text)}"
        )
    config = parse_json(text, "config override")
    if config.name not in ("", model):
        raise InvalidConfiguration(f"config override: name is '{config.name}', not the model's")
    return config


def _path(model: str, key: str) -> str:
    path = key.removeprefix(_FILE)
    if not is_override_path(path):
        # Triton's code and words, as for a configuration that cannot be.
        raise LoadFailed(
            model,
            f"{NOT_THERE}: invalid load parameter '{_shortened(key)}': expected "
            "file:<version>/<name>, as in file:1/model.onnx, with a name of at most "
            f"{LONGEST_NAME} bytes",
        )
    return path


def _check_parameter(key: str, value: pb.ModelRepositoryParameter) -> None:
    if key == _CONFIG:
        expected = "string_param"
    elif key.startswith(_FILE):
        expected = "bytes_param"
    else:
        raise InvalidRequest(f"unrecognized load parameter '{key}'.")
    if value.WhichOneof("parameter_choice") != expected:
        raise InvalidRequest(f"invalid value type for load parameter '{key}', expected {expected}.")


def _shortened(key: str) -> str:
    return key if len(key) <= _LONGEST_SHOWN else f"{key[:_LONGEST_SHOWN]}..."


def _check_sizes(files: Mapping[str, bytes], most_mib: int) -> None:
    size = sum(map(len, files.values()))
    if size > most_mib * _MIB:
        raise InvalidRequest(
            f"the files of an override hold {size / _MIB:.1f} MiB, and {most_mib} MiB is the most "
            "(--max-override-mib): put large files into a model repository"
        )
