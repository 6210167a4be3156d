"""``penstock models``: what the repository holds, and what can answer."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.channel import DEFAULT_URL, TIMEOUT_S, Url, told

if TYPE_CHECKING:
    from penstock.protos import grpc_service_pb2

models = typer.Typer(no_args_is_help=True)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")]


@models.command("ls")
def ls(
    *,
    url: Url = DEFAULT_URL,
    ready: Annotated[bool, typer.Option("--ready", help="Only those that can answer.")] = False,
    as_json: _Json = False,
) -> None:
    """List the versions of all models, with their state and the reason for it."""
    from penstock.protos import grpc_service_pb2 as pb

    answer = _call(url, "RepositoryIndex", pb.RepositoryIndexRequest(ready=ready))
    if as_json:
        print(json.dumps([_as_dict(entry) for entry in answer.models], indent=2))
        return
    _print(answer.models)


@models.command("load")
def load(model: _Model, *, url: Url = DEFAULT_URL, as_json: _Json = False) -> None:
    """Ask the server to load a model. It serves what its repository holds, and says so."""
    from penstock.protos import grpc_service_pb2 as pb

    _call(url, "RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name=model))
    print(json.dumps({"loaded": model}) if as_json else f"{model} is loaded")


@models.command("unload")
def unload(model: _Model, *, url: Url = DEFAULT_URL, as_json: _Json = False) -> None:
    """Ask the server to unload a model. It serves what its repository holds, and says so."""
    from penstock.protos import grpc_service_pb2 as pb

    _call(url, "RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name=model))
    print(json.dumps({"unloaded": model}) if as_json else f"{model} is unloaded")


def _call(url: str, method: str, request: Any) -> Any:
    import grpc

    from penstock.protos import grpc_service_pb2_grpc

    with told(url), grpc.insecure_channel(url) as channel:
        stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]
        return getattr(stub, method)(request, timeout=TIMEOUT_S)


def _as_dict(entry: "grpc_service_pb2.RepositoryIndexResponse.ModelIndex") -> dict[str, str]:
    return {
        "name": entry.name,
        "version": entry.version,
        "state": entry.state,
        "reason": entry.reason,
    }


def _print(entries: Any) -> None:
    from rich.console import Console

    from penstock.cli.tables import plain_table, state_text

    out = Console(highlight=False)
    if not entries:
        out.print("The repository holds no model.")
        return
    table = plain_table("model", "version", "state", "reason")
    table.columns[-1].ratio = 1
    for entry in entries:
        table.add_row(entry.name, entry.version, state_text(entry.state), entry.reason)
    out.print(table)
