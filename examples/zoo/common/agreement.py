"""Do served answers equal those of the source: one caller alone, and many at once?"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from penstock.client import AsyncClient
from zoo.common.onnx_files import difference
from zoo.common.place import Array

CALLERS = 12
DEADLINE_S = 300.0

_sequences = count(1)

Step = tuple[Mapping[str, Array], Mapping[str, Array]]


@dataclass(frozen=True, slots=True)
class Case:
    """Held-out input, and what the training framework says of it.

    Attributes:
        steps: requests with the answers that are expected, sent one after the other.
        sequence: they are one sequence, whose state the cluster keeps.
    """

    model: str
    steps: Sequence[Step]
    version: int | None = None
    sequence: bool = False


@dataclass(slots=True)
class Agreement:
    """What came of asking.

    Attributes:
        difference: the largest between an answer and its source.
        seconds: how long each answer took.
        sent: bytes of all inputs.
        received: bytes of all outputs.
    """

    difference: float = 0.0
    seconds: list[float] = field(default_factory=list)
    sent: int = 0
    received: int = 0


async def compare(url: str, cases: Sequence[Case], callers: int) -> Agreement:
    """Ask for every case once for each of *callers*, all of these at the same time."""
    found = Agreement()
    async with AsyncClient(url, deadline_s=DEADLINE_S) as client:
        await asyncio.gather(*(_call(client, _turned(cases, n), found) for n in range(callers)))
    return found


def _turned(cases: Sequence[Case], places: int) -> Sequence[Case]:
    """The cases in another order for each caller, so that unlike requests share batches."""
    start = places % len(cases)
    return [*cases[start:], *cases[:start]]


async def _call(client: AsyncClient, cases: Sequence[Case], found: Agreement) -> None:
    for case in cases:
        identity = next(_sequences)
        for place, (inputs, expected) in enumerate(case.steps):
            parameters = _control(identity, place, len(case.steps)) if case.sequence else {}
            began = time.monotonic()
            answer = await client.infer(
                case.model, dict(inputs), version=case.version, parameters=parameters
            )
            found.seconds.append(time.monotonic() - began)
            found.difference = max(found.difference, difference(answer, expected))
            found.sent += sum(np.asarray(array).nbytes for array in inputs.values())
            found.received += sum(array.nbytes for array in answer.values())


def _control(identity: int, place: int, length: int) -> dict[str, int | bool]:
    """What makes a request a part of a sequence."""
    return {
        "sequence_id": identity,
        "sequence_start": place == 0,
        "sequence_end": place == length - 1,
    }
