"""What ``make bench`` measures, and how each ratio comes about.

Both sides of a ratio are measured in turn within one run, round by round, and each round begins
with the other side; the ratio is the median of the rounds' ratios. So a slow minute of the machine
hits both.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from inprocess import open_session
from models import ensure, needed
from rich.table import Table
from servers import HERE, ceiling, cluster

from penstock.loadgen.fleet import run_load
from penstock.loadgen.outcome import Outcome
from penstock.loadgen.plan import Plan
from penstock.loadgen.requests import Wanted, describe, first_answer, make_requests
from penstock.protos import grpc_service_pb2 as pb
from penstock.tensors import from_raw
from penstock.transport.credentials import NONE, Credentials

Measure = Callable[[float], float]
M = TypeVar("M")
"""One measurement of so many seconds."""

_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
WARMUP_S = 1.0


@dataclass(frozen=True, slots=True)
class Case:
    """One number that has a goal.

    Attributes:
        against: "ceiling", "in-process", or an ensemble's "slowest step", which `whole` is.
        unit: of both sides; "ms" are compared by difference, rates by ratio.
        goal: the least ratio, or the greatest difference.
        whole: the model that in-process ONNX Runtime runs, and whose answers must come.
    """

    name: str
    model: str
    text: str
    against: str
    unit: str
    goal: float
    concurrency: int = 64
    whole: str = ""


CASES = (
    Case("W1", "w1", "MLP, 64 clients", "ceiling", "requests/s", 0.80, whole="w1"),
    Case("W1-one", "w1", "MLP, 1 client, p50", "ceiling", "ms", 0.35, concurrency=1, whole="w1"),
    Case("W4", "w4", "600 KB, 64 clients", "ceiling", "requests/s", 0.80, whole="w4"),
    Case("W2", "w2", "encoder, 64 clients", "in-process", "items/s", 0.93, whole="w2"),
    Case(
        "W2-stages", "w2_stages", "the same in 2 stages", "in-process", "items/s", 0.85, whole="w2"
    ),
    Case("E3", "e3", "3 steps, 64 clients", "slowest step", "requests/s", 0.90, whole="w2"),
    Case("W3", "w3", "ResNet-18, 64 clients", "in-process", "items/s", 0.85, whole="w3"),
)


@dataclass(frozen=True, slots=True)
class Effort:
    """How long and how often; ``quick`` is for trying things out, not for conclusions."""

    rounds: int
    ceiling_s: float
    computing_s: float
    search_s: float

    @classmethod
    def of(cls, *, quick: bool, rounds: int | None) -> "Effort":
        """The usual effort, or a small one; *rounds* wins over either."""
        return cls(rounds or 2, 2.0, 5.0, 0.5) if quick else cls(rounds or 5, 5.0, 15.0, 2.0)


@dataclass(frozen=True, slots=True)
class Result:
    """Both sides of a case, round by round."""

    case: Case
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    notes: str = ""

    @property
    def rounds(self) -> list[float]:
        """Each round's ratio, or difference in ms."""
        pairs = zip(self.ours, self.theirs, strict=True)
        if self.case.unit == "ms":
            return [ours - theirs for ours, theirs in pairs]
        return [ours / theirs for ours, theirs in pairs]

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    @property
    def reached(self) -> bool:
        """Whether the goal is met."""
        value, goal = self.value, self.case.goal
        return value <= goal if self.case.unit == "ms" else value >= goal

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "case": self.case.name,
            "text": self.case.text,
            "against": self.case.against,
            "unit": self.case.unit,
            "penstock": list(self.ours),
            "reference": list(self.theirs),
            "rounds": self.rounds,
            "value": self.value,
            "goal": self.case.goal,
            "reached": self.reached,
            "notes": self.notes,
        }


def side(rounds: tuple[float, ...], unit: str) -> str:
    """The median of one side, in five characters and its unit."""
    median = statistics.median(rounds)
    if unit == "ms":
        return f"{median:.3f} ms"
    return f"{median:,.0f}/s" if median >= 1000 else f"{median:.1f}/s"


def empty_table(*left: str, right: Sequence[str], **options: Any) -> Table:
    """A table with columns of text to the left, and then of numbers."""
    table = Table(box=None, header_style="bold", pad_edge=False, **options)
    for name in (*left, *right):
        table.add_column(name, justify="left" if name in left else "right")
    return table


class WrongAnswer(RuntimeError):
    """The cluster answers something else than the model does."""


def measure(case: Case, effort: Effort, tell: Callable[[str], None]) -> Result:
    """Start what the case compares, and measure both sides in turn."""
    tell("starting")
    with ExitStack() as stack:
        ours = stack.enter_context(cluster(*needed(case.model)))
        requests = asyncio.run(requests_for(ours.address, case.model))
        reply = asyncio.run(first_answer(ours.address, requests[0]))
        _check(case, requests[0], reply)
        if case.against == "ceiling":
            theirs = stack.enter_context(ceiling(reply))
            seconds, notes = effort.ceiling_s, ""
            reference = load_of(case, theirs.address, requests)
        elif case.against == "slowest step":
            seconds, notes = effort.computing_s, f"{case.whole} in the same cluster"
            alone = asyncio.run(requests_for(ours.address, case.whole))
            reference = load_of(case, ours.address, alone)
        else:
            seconds = effort.computing_s
            tell("looking for ONNX Runtime's best batch size")
            batch, reference = best_inprocess(_artifact(case), effort.search_s)
            notes = f"best batch {batch}, {cores()} threads"
        pairs = in_turn(
            load_of(case, ours.address, requests), reference, seconds, effort.rounds, tell
        )
        return Result(case, *zip(*pairs, strict=True), notes)


def in_turn(
    ours: Callable[[float], M],
    theirs: Callable[[float], M],
    seconds: float,
    rounds: int,
    tell: Callable[[str], None],
) -> Iterator[tuple[M, M]]:
    """Both sides of each round; the side that begins alternates."""
    for turn in range(rounds):
        tell(f"round {turn + 1} of {rounds}")
        if turn % 2 == 0:
            mine = ours(seconds)
            yield mine, theirs(seconds)
        else:
            other = theirs(seconds)
            yield ours(seconds), other


async def requests_for(
    target: str, model: str, credentials: Credentials = NONE
) -> tuple[bytes, ...]:
    """What the load generator sends to *model*, serialized."""
    return make_requests(await describe(target, model, credentials=credentials), Wanted())


def load_of(case: Case, address: str, requests: tuple[bytes, ...]) -> Measure:
    """What *case* measures of the server at *address*."""

    def once(seconds: float) -> float:
        outcome = outcome_of(case, address, requests, seconds)
        return outcome.latency_ms(0.5) if case.unit == "ms" else outcome.throughput_per_s

    return once


def outcome_of(
    case: Case,
    target: str,
    requests: tuple[bytes, ...],
    seconds: float,
    credentials: Credentials = NONE,
) -> Outcome:
    """What became of *case*'s load on the server at *target*; nothing failed."""
    plan = Plan(
        target=target,
        credentials=credentials,
        requests=requests,
        concurrency=case.concurrency,
        warmup_s=WARMUP_S,
        duration_s=seconds,
    )
    outcome = asyncio.run(run_load(plan))
    if outcome.failed:
        raise WrongAnswer(f"{outcome.failed} requests failed: {outcome.messages}")
    return outcome


def best_inprocess(artifact: Path, search_s: float, device: str = "cpu") -> tuple[int, Measure]:
    """The batch size that does best in ``inprocess.py``, and what measures that, in items/s."""
    rates = _items_per_s(artifact, _BATCH_SIZES, search_s, device)
    best = max(rates, key=lambda size: rates[size])
    return best, lambda seconds: _items_per_s(artifact, (best,), seconds, device)[best]


def _items_per_s(
    artifact: Path, sizes: tuple[int, ...], seconds: float, device: str
) -> dict[int, float]:
    """In a process of its own, as ``inprocess.py`` says; by batch size."""
    command = [sys.executable, str(HERE / "inprocess.py"), str(artifact), "--device", device]
    command += ["--threads", str(cores()), "--seconds", str(seconds), "--batch-sizes"]
    command += map(str, sizes)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return {int(size): rate for size, rate in json.loads(done.stdout).items()}


def _artifact(case: Case) -> Path:
    return ensure(case.whole) / "1" / "model.onnx"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _check(case: Case, request: bytes, reply: bytes) -> None:
    """A wrong answer is worth no throughput."""
    asked = pb.ModelInferRequest.FromString(request)
    got = pb.ModelInferResponse.FromString(reply)
    given = asked.inputs[0]
    feed = from_raw(asked.raw_input_contents[0], given.datatype, given.shape)
    session = open_session(_artifact(case), cores())
    (expected,) = session.run(None, {given.name: feed})
    answer = from_raw(got.raw_output_contents[0], "FP32", got.outputs[0].shape)
    if not np.allclose(answer, expected, rtol=1e-3, atol=1e-4):
        raise WrongAnswer(f"{case.model} does not answer as its model does")


@contextmanager
def named(case: Case) -> Iterator[None]:
    """Say which case an error came from."""
    try:
        yield
    except Exception as error:
        error.add_note(f"while measuring {case.name} ({case.text})")
        raise
