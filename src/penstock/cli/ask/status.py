"""``penstock status``: what the cluster is doing."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.ask.channel import Gateway, asks_a_gateway, call

if TYPE_CHECKING:
    from penstock.protos import cluster_pb2

_WATCH_EVERY_S = 1.0


@asks_a_gateway
def status(
    model: Annotated[
        str, typer.Argument(metavar="[MODEL]", help="Only this model.", show_default=False)
    ] = "",
    *,
    gateway: Gateway,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again each second.")] = False,
) -> None:
    """Show nodes, models, stages, workers and queues."""
    if watch and not json:
        _watch(gateway, model)
        return
    while True:
        answer = _ask(gateway, model)
        if json:
            print(_as_json(answer), flush=True)
        else:
            _print(answer)
        if not watch:
            return
        time.sleep(_WATCH_EVERY_S)


def _ask(gateway: Gateway, model: str) -> "cluster_pb2.StatusResponse":
    from penstock.protos import cluster_pb2 as pb

    answer: pb.StatusResponse = call(gateway, "Status", pb.StatusRequest(model=model))
    return answer


def _print(answer: "cluster_pb2.StatusResponse") -> None:
    from rich.console import Console

    from penstock.cli.tables import all_tables

    out = Console(highlight=False)
    for part in all_tables(answer):
        out.print(part)


def _watch(gateway: Gateway, model: str) -> None:
    from rich.console import Group
    from rich.live import Live

    from penstock.cli.tables import all_tables

    with Live(screen=True, auto_refresh=False) as live:
        while True:
            live.update(Group(*all_tables(_ask(gateway, model))), refresh=True)
            time.sleep(_WATCH_EVERY_S)


def _as_json(answer: "cluster_pb2.StatusResponse") -> str:
    from google.protobuf.json_format import MessageToJson

    return MessageToJson(
        answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
