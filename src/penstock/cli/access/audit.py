"""``penstock audit``: what administrators did, and whether the log is as it was written."""

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.access.store import Redis, on_store, url_of
from penstock.errors import PenstockError

if TYPE_CHECKING:
    from penstock.scheduler.registry.audit import Entry


class LogBroken(PenstockError):
    """Somebody has changed the audit log."""


@on_store
def audit(
    *,
    most: Annotated[
        int, typer.Option("--last", "-n", min=1, max=100_000, help="So many entries.")
    ] = 50,
    redis: Redis = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what administrators did, the latest last, and check that nobody has changed it."""
    from penstock.scheduler.registry.audit import AuditLog, broken
    from penstock.scheduler.store.link import Links

    async def read(url: str) -> "list[Entry]":
        async with Links(url) as links:
            return (await AuditLog(links).latest(most))[::-1]

    entries = asyncio.run(read(url_of(redis)))
    if as_json:
        print(json.dumps([entry._asdict() for entry in entries], indent=2))
    else:
        _print(entries)
    if (wrong := broken(entries)) is not None:
        raise LogBroken(
            f"the entry of {_time(wrong.at_ms)} ({wrong.act} of {wrong.object}), or the one before "
            "it, is not as it was written: somebody has changed the store"
        )


def _print(entries: "list[Entry]") -> None:
    from rich.console import Console

    from penstock.cli.tables import plain_table

    out = Console(highlight=False)
    if not entries:
        out.print("Nothing has been done yet.")
        return
    table = plain_table("time", "who", "act", "object", "result")
    for entry in entries:
        table.add_row(_time(entry.at_ms), entry.who, entry.act, entry.object, entry.result)
    out.print(table)


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
