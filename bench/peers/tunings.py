"""How each server may be set up; a short trial chooses, so that each does as well as it can."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Tuning:
    """One way to set a server up.

    Attributes:
        workers: processes, or instances, that run the model.
        threads: intra-op threads of each.
        batch: largest batch; 1 for none.
        delay_ms: how long a batch may wait for company.
        options: of `penstock up`.
    """

    workers: int = 1
    threads: int = 1
    batch: int = 1
    delay_ms: float = 0.0
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.options:
            return f"{' '.join(self.options)}, {self.workers} x"
        batch = f"batch {self.batch}" if self.batch > 1 else "no batches"
        delay = f", {self.delay_ms:g} ms" if self.delay_ms else ""
        return f"{self.workers} x {self.threads} threads, {batch}{delay}"


def tunings(server: str, cores: int, *, computes: bool) -> list[Tuning]:
    """Those of *server* that are tried.

    Args:
        computes: the model keeps the cores busy: W2 and W3, of at most 8 rows a batch.
    """
    return _TABLES[server](cores, computes)


def _batching(cores: int, computes: bool) -> list[Tuning]:  # noqa: FBT001 - entries of one table
    """Of servers that run batches in processes of their own."""
    if computes:
        return [Tuning(cores, 1, 8, 1.0), Tuning(1, cores, 8, 1.0)]
    return [Tuning(2, 1, 32), Tuning(1, 1, 32)]


def _kserve(cores: int, computes: bool) -> list[Tuning]:  # noqa: FBT001 - as above
    """Its Python server joins no requests: that is its agent's, a program beside it."""
    if computes:
        return [Tuning(1, cores), Tuning(cores, 1)]
    return [Tuning(1), Tuning(2)]


def _mlserver(cores: int, computes: bool) -> list[Tuning]:  # noqa: FBT001 - as above
    """Without workers its models run in the server's process."""
    if computes:
        return [
            Tuning(0, cores, 8, 1.0),
            Tuning(cores, 1, 8, 1.0),
            Tuning(cores, 1),
        ]
    return [Tuning(0, 1), Tuning(0, 1, 32, 0.5), Tuning(2, 1, 32, 0.5)]


def _penstock(front: str, cores: int, *, computes: bool) -> list[Tuning]:
    """Cores go to one worker, or each to one of its own; small requests to gateways likewise."""
    options = ("--grpc-front", front)
    other = Tuning(cores, options=options) if computes else Tuning(options=(*options, *_TWO))
    return [Tuning(options=options), other]


def _aio(cores: int, computes: bool) -> list[Tuning]:  # noqa: FBT001 - as above
    return _penstock("aio", cores, computes=computes)


def _asgi(cores: int, computes: bool) -> list[Tuning]:  # noqa: FBT001 - as above
    return _penstock("asgi", cores, computes=computes)


_TWO: Final = ("--processes", "2")

_TABLES: Final = {
    "Penstock": _aio,
    "Penstock, asgi": _asgi,
    "Triton": _batching,
    "KServe": _kserve,
    "MLServer": _mlserver,
    "mosec": _batching,
}

SERVERS: Final = tuple(_TABLES)
OURS: Final = ("Penstock", "Penstock, asgi")
