"""``penstock jobs dead``: dead letters, the jobs that ended their workers."""

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.ask.channel import CallFailed, Gateway, asks_a_gateway, call
from penstock.errors import InvalidConfiguration, PenstockError

if TYPE_CHECKING:
    from penstock.protos import cluster_pb2

jobs = typer.Typer(no_args_is_help=True)
dead = typer.Typer(no_args_is_help=True)
jobs.add_typer(dead, name="dead", help="Dead letters: jobs that ended two workers.")

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Filter = Annotated[
    str | None, typer.Option("--model", metavar="MODEL", help="Only those of this model.")
]


class RetriesFailed(PenstockError):
    """Some of the jobs did not succeed this time either."""


@dead.command("ls")
@asks_a_gateway
def ls(*, model: _Filter = None, gateway: Gateway, as_json: _Json = False) -> None:
    """List dead letters, the newest first."""
    letters = _listed(gateway, model=model or "")
    if as_json:
        print(json.dumps([_as_dict(letter) for letter in letters], indent=2))
        return
    _print_list(letters, model)


@dead.command("show")
@asks_a_gateway
def show(
    job: Annotated[str, typer.Argument(metavar="JOB", help="As 'ls' names it.")],
    *,
    gateway: Gateway,
    as_json: _Json = False,
) -> None:
    """Show one dead letter, and the inputs that it carries."""
    (letter,) = _listed(gateway, job=job)
    if as_json:
        print(json.dumps(_as_dict(letter), indent=2))
        return
    from rich.console import Console

    from penstock.cli.tables import letter_table

    Console(highlight=False).print(letter_table(letter))


@dead.command("retry")
@asks_a_gateway
def retry(
    job: Annotated[
        list[str] | None, typer.Argument(metavar="JOB...", help="As 'ls' names them.")
    ] = None,
    *,
    model: _Filter = None,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds that each may take.")] = 60.0,
    gateway: Gateway,
    as_json: _Json = False,
) -> None:
    """Run dead letters once more, each alone, and say how each ended.

    Their senders have had an error and are gone: the replies come here. A job that succeeds is
    no dead letter any more; one that ends its worker again becomes a new one.
    """
    if bool(job) == (model is not None):
        raise InvalidConfiguration(
            "name the jobs to retry, or all those of a model with --model; "
            "'penstock jobs dead ls' lists them"
        )
    names = job or [letter.job for letter in reversed(_listed(gateway, model=model or ""))]
    ended = []
    for name in names:
        ended.append(_retried(gateway, name, timeout))
        if not as_json:
            _print_end(ended[-1])
    if as_json:
        print(json.dumps(ended, indent=2))
    elif not names:
        print(f"There are no dead letters of {model}.")
    failed = sum("error" in one for one in ended)
    if failed:
        raise RetriesFailed(f"{failed} of {len(ended)} failed again")


def _listed(gateway: Gateway, *, model: str = "", job: str = "") -> "list[cluster_pb2.DeadLetter]":
    from penstock.protos import cluster_pb2 as pb

    request = pb.DeadLettersRequest(model=model, job=job)
    return list(call(gateway, "DeadLetters", request).letters)


def _retried(gateway: Gateway, job: str, timeout_s: float) -> dict[str, Any]:
    """How a retry ended: with outputs, or with an error."""
    from penstock.protos import cluster_pb2 as pb
    from penstock.protos.grpc_service_pb2 import ModelInferResponse

    request, unlimited = pb.RetryDeadLetterRequest(job=job), ("grpc.max_receive_message_length", -1)
    try:
        answer = call(gateway, "RetryDeadLetter", request, timeout_s, [unlimited])
    except CallFailed as error:
        return {"job": job, "error": str(error)}
    reply = ModelInferResponse.FromString(answer.reply)
    return {
        "job": job,
        "retried_as": answer.job,
        "took_ms": answer.took_ms,
        "outputs": [
            {"name": one.name, "datatype": one.datatype, "shape": list(one.shape)}
            for one in reply.outputs
        ],
    }


def _as_dict(letter: "cluster_pb2.DeadLetter") -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict

    fields: dict[str, Any] = MessageToDict(
        letter, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return fields


def _print_list(letters: "list[cluster_pb2.DeadLetter]", model: str | None) -> None:
    from rich.console import Console

    from penstock.cli.tables import letters_table

    out = Console(highlight=False)
    if not letters:
        out.print(f"There are no dead letters{f' of {model}' if model else ''}.")
        return
    out.print(letters_table(letters, time.time() * 1000))
    out.print("'penstock jobs dead show JOB' shows its inputs, 'retry JOB' runs it once more.")


def _print_end(ended: dict[str, Any]) -> None:
    if "error" in ended:
        print(f"{ended['job']}: {ended['error']}")
        return
    outputs = ", ".join(
        f"{one['name']} {one['datatype']} {one['shape']}" for one in ended["outputs"]
    )
    print(f"{ended['job']}: answered after {ended['took_ms']} ms: {outputs}")
