"""``make bench-tls``: what a gateway answers over TLS, beside the same without.

    python bench/tls.py [--only W1 W1-one W4] [--front aio asgi] [--rounds N] [--seconds S]

Two clusters of this tree run at once and are loaded in turn; the ratio is that of TLS to plain.
Connections last, as those of real clients do: what a handshake costs is not in it.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

import trustme
from cases import CASES, empty_table, named
from loads import h2load
from models import needed
from rich.console import Console
from servers import cluster
from sides import measure

_CASES = ("W1", "W1-one", "W4")


def main() -> None:
    """Measure and print."""
    options = _options()
    numbers = ("plain", "TLS", "TLS to plain", "spread", "work")
    console, table = Console(), empty_table("case", "front", right=numbers)
    with _certificate() as (certificate, key, ca):
        for case in (one for one in CASES if one.name in options.only):
            for front in options.front:
                plainly = ("--grpc-front", front)
                encrypted = (*plainly, "--tls-cert", certificate, "--tls-key", key)
                with (
                    named(case),
                    Console(stderr=True).status(f"{case.name} {front}") as status,
                    cluster(*needed(case.model), options=plainly) as plain,
                    cluster(*needed(case.model), options=encrypted, ca=ca) as tls,
                ):
                    both, client = (plain, tls), "cheap" if h2load.is_installed() else "python"
                    found = measure(
                        case, both, client, options.seconds, options.rounds, status.update
                    )
                table.add_row(case.name, front, *found.cells(case.unit))
    console.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure TLS beside none.")
    parser.add_argument("--only", nargs="+", choices=_CASES, default=_CASES)
    parser.add_argument("--front", nargs="+", choices=["aio", "asgi"], default=["asgi", "aio"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    return parser.parse_args()


@contextmanager
def _certificate() -> Iterator[tuple[str, str, str]]:
    """The files of one, of its key, and of its authority."""
    authority = trustme.CA()
    made = authority.issue_cert("localhost", "127.0.0.1")
    with (
        made.cert_chain_pems[0].tempfile() as certificate,
        made.private_key_pem.tempfile() as key,
        authority.cert_pem.tempfile() as ca,
    ):
        yield certificate, key, ca


if __name__ == "__main__":
    main()
