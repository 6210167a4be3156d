"""``penstock check``: problems of this machine or a repository, and what to do."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.access.store import on_store, redis_option

if TYPE_CHECKING:
    from penstock.cli.offline.findings import Finding


@on_store
def check(
    models: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR]...", help="Model repositories to look at as well."),
    ] = None,
    *,
    redis: Annotated[str | None, redis_option("A Redis or Valkey to try as well.")] = None,
    load: Annotated[
        bool, typer.Option("--load/--no-load", help="Load each artifact, on the CPU.")
    ] = True,
    allow_python_models: Annotated[
        bool, typer.Option("--allow-python-models", help="Run the code of Python models, too.")
    ] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port for the gateway.")] = 8001,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find problems, and say what to do about each. Exit status 1: there are some."""
    from penstock.cli.offline import findings

    found = list(findings.machine(port))
    if redis is not None:
        found.append(findings.store(redis))
    if models:
        from rich.console import Console

        with Console(stderr=True).status("reading") as status:
            found += findings.repository(
                *models, load=load, python_models=allow_python_models, about=status.update
            )
    if as_json:
        print(json.dumps([finding._asdict() for finding in found], indent=2))
    else:
        _print(found)
    if any(finding.verdict == "wrong" for finding in found):
        raise typer.Exit(1)


def _print(found: "Sequence[Finding]") -> None:
    from rich.console import Console
    from rich.text import Text

    from penstock.cli.tables import plain_table

    colours = {"ok": "green", "note": "yellow", "wrong": "red"}
    table = plain_table("check", "", "result")
    table.columns[-1].ratio = 1
    for finding in found:
        verdict = Text(finding.verdict, style=colours[finding.verdict])
        text = Text(finding.detail)
        if finding.remedy:
            text.append(f"\n-> {finding.remedy}", style="bold")
        table.add_row(finding.subject, verdict, text)
    out = Console(highlight=False)
    out.print(table)
    wrong = sum(finding.verdict == "wrong" for finding in found)
    problems = "1 problem" if wrong == 1 else f"{wrong or 'No'} problems"
    out.print(f"\n{problems} found.")
