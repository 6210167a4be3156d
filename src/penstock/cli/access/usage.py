"""``penstock keys usage``: what each team has had of each model version."""

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.access.store import Redis, on_store, url_of

if TYPE_CHECKING:
    from penstock.scheduler.observe.usage import Usage
    from penstock.scheduler.registry.snapshot import VersionId

Found = dict[tuple[str, "VersionId"], "Usage"]
_MICROS = 1_000_000


@on_store
def usage(
    *,
    redis: Redis = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what each team has had: requests, rows, bytes, and time of devices."""
    from penstock.scheduler.jobs.queue import open_queue
    from penstock.scheduler.observe.usage import usage_of
    from penstock.scheduler.store.link import Links

    async def read(url: str) -> Found:
        async with Links(url) as links:
            return await usage_of(await open_queue(links))

    found = asyncio.run(read(url_of(redis)))
    if as_json:
        print(json.dumps([_as_dict(*one) for one in sorted(found.items())], indent=2))
    else:
        _print(found)


def _as_dict(of: "tuple[str, VersionId]", had: "Usage") -> dict[str, str | int]:
    team, (model, version) = of
    counted = {name: round(number) for name, number in had._asdict().items()}
    counted["bytes"] = counted.pop("size")
    return {"team": team, "model": model, "version": version, **counted}


def _print(found: Found) -> None:
    from rich.console import Console

    from penstock.cli.tables import plain_table, size_text

    out = Console(highlight=False)
    if not found:
        out.print("No team has had anything yet.")
        return
    table = plain_table("team", "model", "requests", "failed", "rows", "bytes", "device time")
    for (team, (model, version)), had in sorted(found.items()):
        table.add_row(
            team,
            f"{model} {version}",
            f"{had.requests:,.0f}",
            f"{had.failed:,.0f}",
            f"{had.rows:,.0f}",
            size_text(had.size),
            f"{had.device_us / _MICROS:,.3f} s",
        )
    out.print(table)
