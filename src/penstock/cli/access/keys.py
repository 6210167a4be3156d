"""``penstock keys``: who may call a cluster, and with what; each secret is shown once.

They work on the store itself: whoever has its password may make keys.
"""

import json
import re
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from penstock.cli.access.store import Redis, Store, on_store, with_store
from penstock.cli.access.usage import usage
from penstock.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.protos import cluster_pb2 as pb

keys = typer.Typer(no_args_is_help=True)
keys.command("usage")(usage)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Id = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, as 'ls' shows it.")]

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST_S: Final = 100 * 365 * 86400


_Scopes = Annotated[
    list[str] | None,
    typer.Option(
        "--scope",
        metavar="SCOPE",
        help="infer, read, load or admin; may be repeated. (default: infer and read)",
    ),
]
_Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model", metavar="GLOB", help="Models that it is for; may be repeated. (default: all)"
    ),
]
_Networks = Annotated[
    list[str] | None,
    typer.Option(
        "--network",
        metavar="CIDR",
        help="Where callers are, as in 10.0.0.0/8; may be repeated. (default: anywhere)",
    ),
]
_Certificates = Annotated[
    list[str] | None,
    typer.Option(
        "--certificate", metavar="NAME", help="A name in client certificates that counts as it."
    ),
]
_Expires = Annotated[
    str | None, typer.Option(metavar="TIME", help="How long it is good, as in 90d or 12h.")
]


@keys.command("create")
@on_store
def create(
    team: Annotated[str, typer.Argument(metavar="TEAM", help="Whose key it is.")],
    *,
    scopes: _Scopes = None,
    models: _Models = None,
    networks: _Networks = None,
    certificates: _Certificates = None,
    secret: Annotated[
        bool, typer.Option(help="Make a secret; without one only certificates count.")
    ] = True,
    expires: _Expires = None,
    redis: Redis = None,
    as_json: _Json = False,
) -> None:
    """Make a key, and print its secret: the only time that it is shown.

    The secret alone goes to standard output, all else to standard error:
    KEY=$(penstock keys create vision) takes it.
    """
    from penstock.gateway.access.api_key import mint, new_id
    from penstock.gateway.access.caller import EVERY_MODEL
    from penstock.gateway.access.records import DEFAULT_SCOPES, Grant, made

    ttl_ms = None if expires is None else _duration_ms("--expires", expires)
    words = (scopes or DEFAULT_SCOPES, models or EVERY_MODEL, networks or (), certificates or ())
    grant = Grant(team, *words, ttl_ms)
    id_ = new_id()
    minted = mint(id_) if secret else None
    record = made(id_, grant, minted, _now_ms())

    async def add(store: Store) -> None:
        await store.keys.create(record, store.known)
        await store.note("key.created", record)

    with_store(redis, add)
    _show_made(record, minted and minted.text, as_json=as_json)


@keys.command("ls")
@on_store
def ls(
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Those that were revoked, too.")
    ] = False,
    redis: Redis = None,
    as_json: _Json = False,
) -> None:
    """List keys: whose they are, and what they are for."""

    async def look(store: Store) -> "list[pb.AccessKey]":
        return sorted(store.known.values(), key=lambda record: (record.team, record.created_ms))

    found = with_store(redis, look)
    listed = [record for record in found if everything or not record.revoked_ms]
    if as_json:
        print(json.dumps([_as_dict(record) for record in listed], indent=2))
        return
    from rich.console import Console

    from penstock.cli.access.tables import keys_table

    out = Console(highlight=False)
    if listed:
        out.print(keys_table(listed, _now_ms()))
    elif found:
        out.print("All keys were revoked: nobody may call. 'penstock keys create' makes one.")
    else:
        out.print("There are no keys. 'penstock keys create TEAM' makes one.")


@keys.command("rotate")
@on_store
def rotate(
    key: _Id,
    *,
    grace: Annotated[
        str, typer.Option(metavar="TIME", help="How long the secret before is still taken.")
    ] = "1d",
    redis: Redis = None,
    as_json: _Json = False,
) -> None:
    """Give a key a new secret, and print it: the only time that it is shown.

    The secret before is taken until --grace is over, so that callers can change without a failure.
    """
    from penstock.gateway.access import records
    from penstock.gateway.access.api_key import checked_id, mint

    id_ = checked_id(key)
    grace_ms = _duration_ms("--grace", grace)
    minted = mint(id_)

    async def replace(store: Store) -> "pb.AccessKey":
        before = _found(store.known, id_)
        after = records.rotated(before, minted, _now_ms(), grace_ms)
        await store.keys.change(before, after, "key.rotated")
        await store.note("key.rotated", after)
        return after

    _show_made(with_store(redis, replace), minted.text, as_json=as_json)


@keys.command("revoke")
@on_store
def revoke(key: _Id, *, redis: Redis = None) -> None:
    """Revoke a key: all gateways refuse it within a second, and its open streams."""
    from penstock.gateway.access import records
    from penstock.gateway.access.api_key import checked_id

    id_ = checked_id(key)

    async def end(store: Store) -> "pb.AccessKey":
        before = _found(store.known, id_)
        if not before.revoked_ms:
            await store.keys.change(before, records.revoked(before, _now_ms()), "key.revoked")
            await store.note("key.revoked", before)
        return before

    record = with_store(redis, end)
    before = "was revoked before" if record.revoked_ms else "is revoked"
    print(f"The key {id_} of {record.team} {before}.")


def _found(known: "Mapping[str, pb.AccessKey]", id_: str) -> "pb.AccessKey":
    if id_ not in known:
        raise InvalidConfiguration(f"there is no key {id_} here: 'penstock keys ls' lists them")
    return known[id_]


def _show_made(record: "pb.AccessKey", secret: str | None, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**_as_dict(record), "secret": secret}, indent=2))
        return
    from rich.console import Console

    from penstock.cli.access.tables import described

    out = Console(stderr=True, highlight=False)
    out.print(described(record, _now_ms()), markup=False)
    if secret is None:
        return
    out.print("This is the only time that its secret is shown:\n", markup=False)
    sys.stderr.flush()
    print(secret, flush=True)
    out.print(
        "\nCallers send it as 'authorization: Bearer ...'; Penstock's own commands take it from "
        "PENSTOCK_TOKEN.",
        markup=False,
    )


def _as_dict(record: "pb.AccessKey") -> dict[str, Any]:
    from penstock.gateway.access.records import state_of

    return {
        "id": record.id,
        "team": record.team,
        "state": state_of(record, _now_ms()),
        "scopes": list(record.scopes),
        "models": list(record.models),
        "networks": list(record.networks),
        "certificates": list(record.certificates),
        "created_ms": record.created_ms,
        "expires_ms": record.expires_ms or None,
        "revoked_ms": record.revoked_ms or None,
        "secrets": [
            {"created_ms": one.created_ms, "expires_ms": one.expires_ms or None}
            for one in record.secrets
        ],
    }


def _duration_ms(option: str, text: str) -> int:
    found = re.fullmatch(r"(\d{1,9})([smhd])", text)
    seconds = int(found[1]) * _UNITS_S[found[2]] if found else -1
    if not 0 <= seconds <= _LONGEST_S or (option == "--expires" and not seconds):
        raise InvalidConfiguration(
            f"{option}: '{text}' is no time: write one as in 90d, 12h, 30m or 45s"
        )
    return seconds * 1000


def _now_ms() -> int:
    return int(time.time() * 1000)
