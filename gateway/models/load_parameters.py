"""The parameters of RepositoryModelLoad: a configuration, and files, in place of a repository's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from penstock.errors import Code, InvalidConfiguration, InvalidRequest, PenstockError
from penstock.models.config.model_config import parse_json
from penstock.models.files.uploaded_files import check_uploaded, is_override_path
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb
from penstock.scheduler.registry.load_requests import NOT_THERE

_FILE: Final = "file:"
_MIB: Final = 1 << 20

LONGEST_CONFIG: Final = 256 << 10
"""Characters of a configuration that comes with a load request to load."""


class LoadFailed(PenstockError):
    """The model cannot be loaded; its text says why, beginning with Triton's words."""

    code = Code.INTERNAL

    def __init__(self, model: str, why: str) -> None:
        super().__init__(f"failed to load '{model}', {why}")


@dataclass(frozen=True, slots=True)
class LoadTerms:
    """What a model is to be loaded with.

    Attributes:
        files: path below the model's directory -> content; they need a configuration.
    """

    config: config_pb.ModelConfig | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


_LONGEST_NAME: Final = 255
"""Bytes: a model's name is a directory's."""


def check_name(model: str) -> None:
    """Refuse a name that cannot be a model's.

    Raises:
        InvalidRequest: with Triton's words.
    """
    if not model:
        raise InvalidRequest("Model name cannot be empty. Please enter a valid name to deploy.")
    if len(model.encode()) > _LONGEST_NAME:
        raise InvalidRequest(
            f"invalid model name '{model[:40]}...', model name must not be longer than "
            f"{_LONGEST_NAME} bytes"
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
        LoadFailed: the configuration cannot be, or a file may be code.
    """
    config: config_pb.ModelConfig | None = None
    files: dict[str, bytes] = {}
    for key, value in request.parameters.items():
        if key == "config":
            _check_type(key, value, "string_param")
            config = _config(request.model_name, value.string_param)
        elif key.startswith(_FILE):
            _check_type(key, value, "bytes_param")
            files[_path(key)] = value.bytes_param
        else:
            raise InvalidRequest(f"unrecognized load parameter '{key}'.")
    if files and config is None:
        raise LoadFailed(
            request.model_name, f"{NOT_THERE}: files of an override need the 'config' parameter"
        )
    _check_sizes(files, most_file_mib)
    if config is not None and not allow_code:
        _check_for_code(request.model_name, config, files)
    return LoadTerms(config, files)


def _config(model: str, text: str) -> config_pb.ModelConfig:
    if len(text) > LONGEST_CONFIG:
        raise InvalidRequest(
            f"the parameter 'config' may have {LONGEST_CONFIG} characters, and this one has "
            f"{len(text)}"
        )
    try:
        config = parse_json(text, "config override")
    except InvalidConfiguration as error:
        raise LoadFailed(model, f"{NOT_THERE}: {error}") from error
    if config.name not in ("", model):
        raise LoadFailed(
            model, f"{NOT_THERE}: config override: name is '{config.name}', not the model's"
        )
    return config


def _check_for_code(model: str, config: config_pb.ModelConfig, files: Mapping[str, bytes]) -> None:
    try:
        check_uploaded(config, files)
    except InvalidConfiguration as error:
        raise LoadFailed(model, f"{NOT_THERE}: {error}") from error


def _path(key: str) -> str:
    path = key.removeprefix(_FILE)
    if not is_override_path(path):
        raise InvalidRequest(
            f"invalid load parameter '{key}': expected file:<version>/<name>, as in "
            "file:1/model.onnx"
        )
    return path


def _check_type(key: str, value: pb.ModelRepositoryParameter, expected: str) -> None:
    if value.WhichOneof("parameter_choice") != expected:
        raise InvalidRequest(f"invalid value type for load parameter '{key}', expected {expected}.")


def _check_sizes(files: Mapping[str, bytes], most_mib: int) -> None:
    size = sum(map(len, files.values()))
    if size > most_mib * _MIB:
        raise InvalidRequest(
            f"the files of an override hold {size / _MIB:.1f} MiB, and {most_mib} MiB is the most "
            "(--max-override-mib): put large files into a model repository"
        )
