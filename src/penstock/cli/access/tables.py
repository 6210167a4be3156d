"""Keys as tables that stay readable in 80 columns."""

from collections.abc import Iterable

from rich.table import Table

from penstock.cli.tables import age_text, plain_table
from penstock.gateway.access.records import state_of
from penstock.protos import cluster_pb2 as pb


def keys_table(records: Iterable[pb.AccessKey], now_ms: int) -> Table:
    """One line for each key."""
    table = plain_table("key", "team", "scopes", "models", "from", "state", "secrets")
    for record in records:
        table.add_row(
            record.id,
            record.team,
            " ".join(record.scopes),
            " ".join(record.models),
            " ".join((*record.networks, *record.certificates)) or "anywhere",
            _state(record, now_ms),
            str(sum(not one.expires_ms or one.expires_ms > now_ms for one in record.secrets)),
        )
    return table


def described(record: pb.AccessKey, now_ms: int) -> str:
    """What a key is for, as a sentence."""
    models = "all models" if "*" in record.models else f"models {', '.join(record.models)}"
    lasts = f"for {age_text(record.expires_ms - now_ms)}" if record.expires_ms else "for ever"
    places = f", from {', '.join(record.networks)}" if record.networks else ""
    names = f", or whoever shows a certificate of {', '.join(record.certificates)}"
    certified = names if record.certificates else ""
    return (
        f"Key {record.id} of {record.team}: {', '.join(record.scopes)} on {models}, {lasts}"
        f"{places}{certified}."
    )


def _state(record: pb.AccessKey, now_ms: int) -> str:
    state = state_of(record, now_ms)
    if state == "good" and record.expires_ms:
        return f"good for {age_text(record.expires_ms - now_ms)}"
    return state
