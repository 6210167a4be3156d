"""``penstock keys``: who may call a cluster, and with what; each secret is shown once.

They work over a gateway, with a key of the scope admin; or, with --redis, on the store itself:
whoever has its password may make keys, the first one among them.
"""

import json
import re
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from penstock.cli.access.books import book_of
from penstock.cli.access.store import OrGateway, on_store
from penstock.cli.access.usage import usage
from penstock.cli.ask.channel import Gateway, asks_a_gateway
from penstock.errors import InvalidConfiguration

if TYPE_CHECKING:
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
@asks_a_gateway
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
    redis: OrGateway = None,
    gateway: Gateway,
    as_json: _Json = False,
) -> None:
    """Make a key, and print its secret: the only time that it is shown.

    The secret alone goes to standard output, all else to standard error:
    KEY=$(penstock keys create vision) takes it.
    """
    from penstock.gateway.access.caller import EVERY_MODEL
    from penstock.gateway.access.records import DEFAULT_SCOPES, Grant

    ttl_ms = None if expires is None else _duration_ms("--expires", expires)
    words = (scopes or DEFAULT_SCOPES, models or EVERY_MODEL, networks or (), certificates or ())
    made = book_of(redis, gateway).create(Grant(team, *words, ttl_ms), secret=secret)
    _show_made(made.record, made.secret, as_json=as_json)


@keys.command("ls")
@asks_a_gateway
@on_store
def ls(
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Those that were revoked, too.")
    ] = False,
    redis: OrGateway = None,
    gateway: Gateway,
    as_json: _Json = False,
) -> None:
    """List keys: whose they are, and what they are for."""
    found = book_of(redis, gateway).listed()
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
@asks_a_gateway
@on_store
def rotate(
    name: _Id,
    *,
    grace: Annotated[
        str, typer.Option(metavar="TIME", help="How long the secret before is still taken.")
    ] = "1d",
    redis: OrGateway = None,
    gateway: Gateway,
    as_json: _Json = False,
) -> None:
    """Give a key a new secret, and print it: the only time that it is shown.

    The secret before is taken until --grace is over, so that callers can change without a failure.
    """
    from penstock.gateway.access.api_key import checked_id

    id_, grace_ms = checked_id(name), _duration_ms("--grace", grace)
    made = book_of(redis, gateway).rotate(id_, grace_ms)
    _show_made(made.record, made.secret, as_json=as_json)


@keys.command("revoke")
@asks_a_gateway
@on_store
def revoke(name: _Id, *, redis: OrGateway = None, gateway: Gateway) -> None:
    """Revoke a key: all gateways refuse it within a second, and its open streams."""
    from penstock.gateway.access.api_key import checked_id

    record, before = book_of(redis, gateway).revoke(checked_id(name))
    what = "was revoked before" if before else "is revoked"
    print(f"The key {record.id} of {record.team} {what}.")


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
