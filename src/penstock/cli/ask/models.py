"""``penstock models``: what the repository holds, what can answer, and what shall."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.ask.channel import TIMEOUT_S, Gateway, asks_a_gateway, call, channel_to
from penstock.errors import InvalidConfiguration

if TYPE_CHECKING:
    from penstock.protos import grpc_service_pb2

models = typer.Typer(no_args_is_help=True)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Timeout = Annotated[
    float | None,
    typer.Option(min=0.001, help="Seconds to wait for it. (default: as long as it takes)"),
]
_Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")]


@models.command("ls")
@asks_a_gateway
def ls(
    *,
    gateway: Gateway,
    ready: Annotated[bool, typer.Option("--ready", help="Only those that can answer.")] = False,
    as_json: _Json = False,
) -> None:
    """List the versions of all models, with their state and the reason for it."""
    from penstock.protos import grpc_service_pb2 as pb

    answer = call(gateway, "RepositoryIndex", pb.RepositoryIndexRequest(ready=ready))
    batching = _batching(gateway)
    if as_json:
        print(json.dumps([_as_dict(entry, batching) for entry in answer.models], indent=2))
        return
    _print(answer.models, batching)


@models.command("load")
@asks_a_gateway
def load(
    model: _Model,
    *,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="CONFIG",
            help="In place of the model's configuration: a file (JSON, or .pbtxt), or JSON itself.",
        ),
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VERSION/NAME=PATH",
            help="In place of the model's files, as in 1/model.onnx=new.onnx; needs --config. "
            "May be given several times.",
        ),
    ] = None,
    timeout: _Timeout = None,
    gateway: Gateway,
    as_json: _Json = False,
) -> None:
    """Load a model, or load it anew; return when its workers are ready on the whole cluster."""
    from penstock.protos import grpc_service_pb2 as pb

    request = pb.RepositoryModelLoadRequest(model_name=model)
    if config is not None:
        request.parameters["config"].string_param = _json_of(config)
    for given in file or ():
        name, content = _content_of(given)
        request.parameters[f"file:{name}"].bytes_param = content
    unlimited = ("grpc.max_send_message_length", -1)
    call(gateway, "RepositoryModelLoad", request, timeout, [unlimited])
    print(json.dumps({"loaded": model}) if as_json else f"{model} is loaded")


@models.command("unload")
@asks_a_gateway
def unload(
    model: _Model,
    *,
    timeout: _Timeout = None,
    gateway: Gateway,
    as_json: _Json = False,
) -> None:
    """Unload a model; return when its requests are answered and its workers are gone."""
    from penstock.protos import grpc_service_pb2 as pb

    request = pb.RepositoryModelUnloadRequest(model_name=model)
    call(gateway, "RepositoryModelUnload", request, timeout)
    print(json.dumps({"unloaded": model}) if as_json else f"{model} is unloaded")


def _json_of(config: str) -> str:
    """The configuration as JSON, from JSON, or from a file of it or of protobuf's text format."""
    if config.lstrip().startswith("{"):
        return config
    path = Path(config)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidConfiguration(f"--config {config}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidConfiguration(f"--config {config} is no text: {error}") from error
    if path.suffix != ".pbtxt":
        return text
    from google.protobuf.json_format import MessageToJson

    from penstock.models.config.model_config import parse

    return MessageToJson(parse(text, str(path)), preserving_proto_field_name=True)


def _content_of(given: str) -> tuple[str, bytes]:
    name, separator, path = given.partition("=")
    if not separator:
        raise InvalidConfiguration(f"--file {given}: expected VERSION/NAME=PATH")
    try:
        return name, Path(path).read_bytes()
    except OSError as error:
        raise InvalidConfiguration(f"--file {given}: {error.strerror}") from error


def _batching(gateway: Gateway) -> dict[tuple[str, str], str]:
    """Of each version by name and number, whether its requests share runs, and why."""
    import grpc

    from penstock.protos import cluster_pb2, cluster_pb2_grpc

    with channel_to(gateway) as channel:
        stub = cluster_pb2_grpc.ClusterStub(channel)  # type: ignore[no-untyped-call]
        try:
            status = stub.Status(cluster_pb2.StatusRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError:
            return {}  # another server than Penstock's has no such thing
    return {(one.model, str(one.version)): one.batching for one in status.versions}


def _as_dict(
    entry: "grpc_service_pb2.RepositoryIndexResponse.ModelIndex",
    batching: Mapping[tuple[str, str], str],
) -> dict[str, str]:
    return {
        "name": entry.name,
        "version": entry.version,
        "state": entry.state,
        "reason": entry.reason,
        "batching": batching.get((entry.name, entry.version), ""),
    }


def _print(entries: Any, batching: Mapping[tuple[str, str], str]) -> None:
    from rich.console import Console

    from penstock.cli.tables import plain_table, state_text

    out = Console(highlight=False)
    if not entries:
        out.print("The repository holds no model.")
        return
    table = plain_table("model", "version", "state", "reason or batching")
    table.columns[-1].ratio = 1
    for entry in entries:
        what = entry.reason or batching.get((entry.name, entry.version), "")
        table.add_row(entry.name, entry.version, state_text(entry.state), what)
    out.print(table)
