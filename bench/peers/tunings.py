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
    busy, idle = _table(cores)[server]
    return busy if computes else idle


def _table(cores: int) -> dict[str, tuple[list[Tuning], list[Tuning]]]:
    """By server: those for models that keep the cores busy, and those for others."""
    aio, asgi = (_penstock(cores, "--grpc-front", front) for front in ("aio", "asgi"))
    # Of servers that run batches in processes of their own.
    batching = (
        [Tuning(cores, 1, 8, 1.0), Tuning(1, cores, 8, 1.0)],
        [Tuning(2, 1, 32), Tuning(1, 1, 32)],
    )
    return {
        "Penstock": aio,
        "Penstock, asgi": asgi,
        "Triton": batching,
        # Its Python server joins no requests: that is its agent's, a program beside it.
        "KServe": ([Tuning(1, cores), Tuning(cores, 1)], [Tuning(1), Tuning(2)]),
        # Without workers its models run in the server's process.
        "MLServer": (
            [Tuning(0, cores, 8, 1.0), Tuning(cores, 1, 8, 1.0), Tuning(cores, 1)],
            [Tuning(0, 1), Tuning(0, 1, 32, 0.5), Tuning(2, 1, 32, 0.5)],
        ),
        "mosec": batching,
    }


def _penstock(cores: int, *options: str) -> tuple[list[Tuning], list[Tuning]]:
    """All cores for one worker, or a worker for each; one gateway, or two."""
    plain = Tuning(options=options)
    two = Tuning(options=(*options, "--processes", "2"))
    return [plain, Tuning(cores, options=options)], [plain, two]


SERVERS: Final = tuple(_table(1))
OURS: Final = ("Penstock", "Penstock, asgi")
