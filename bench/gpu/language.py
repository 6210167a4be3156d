"""The language models of ``make gpu``: tiny ones in one stage and in two, judged by the processor.

Weights are random, and nothing is downloaded. Models and clients are those of the tests.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))

from support.clients.answers import Answer, Answers
from support.language.judging import Judge, expect_force, without_rounding
from support.models import tiny_language
from support.models.language_versions import PROMPTS, SHAPE

from penstock.client import Client
from penstock.exporting.export import Order, export
from penstock.exporting.graphs.matrices import Weights
from penstock.language.rebuild import Rebuild, weakest
from penstock.protos import cluster_pb2

KIND: Final = "KIND_GPU"
STAGES: Final = {"language": 1, "language_stages": 2, "language_int8": 1}
"""Models, each of which is a check of its own, and their stages."""

KILLED: Final = "language_stages"
_TOKENS: Final = 140
_READY_S: Final = 90.0
_BEFORE: Final = 8
"""Tokens that each answer has before a worker is killed."""


class Differs(Exception):
    """A language model on the GPU does not do what it should."""


def write_all(root: Path, kind: str = KIND) -> None:
    """A repository with all of them, computed on devices of *kind*."""
    checkpoint = tiny_language.write_folder(root.parent / "checkpoint", SHAPE)
    for name, stages in STAGES.items():
        weights = Weights.INT8 if name.endswith("int8") else Weights.FP32
        export(checkpoint, Order(root / name / "1", stages, weights=weights), lambda *_: None)
        with (root / name / "config.pbtxt").open("a") as config:
            config.write(f"instance_group {{ kind: {kind} count: 1 }}\n")


def check_answers(client: Client, address: str, root: Path, model: str) -> str:
    """Greedy answers, eight beside each other, whose tokens and numbers the processor has too."""
    _wait_until_ready(client, model)
    with Answers(address) as answers:
        answers.ended([answers.ask(model, PROMPTS[0], max_tokens=4)])
        began_s = time.monotonic()
        found = answers.ended(_ask(answers, model))
        took_s = time.monotonic() - began_s
    text = _held(root, model, found)
    rate = len(found) * _TOKENS / took_s
    return f"{text}; {rate:,.0f} tokens/s of {len(found)}; {_where(client, model)}"


def check_death(client: Client, address: str, root: Path) -> str:
    """A worker is killed in the middle of answers: they go on, and as before if that is proved."""
    _wait_until_ready(client, KILLED)
    with Answers(address) as answers:
        unbroken = answers.ended(_ask(answers, KILLED))
        found = _ask(answers, KILLED)
        answers.until(lambda: all(one.ended or len(one.tokens) >= _BEFORE for one in found))
        killed = _workers(client, KILLED)[-1]
        os.kill(killed.pid, signal.SIGKILL)
        if all(one.ended for one in found):
            raise Differs("all answers had ended before the worker was killed")
        answers.ended(found)
    text = _held(root, KILLED, found)
    rebuild = weakest(worker.rebuild for worker in _workers(client, KILLED))
    same = sum(one.tokens == other.tokens for one, other in zip(found, unbroken, strict=True))
    if rebuild is not Rebuild.NONE and same < len(found):
        raise Differs(f"{rebuild} was proved, and {len(found) - same} answers went on otherwise")
    return f"{text}; {same} of {len(found)} as without the death, by {rebuild}"


CHECKS: Final[dict[str, Callable[[Client, str, Path], str]]] = {
    **{
        name: lambda client, address, root, name=name: check_answers(client, address, root, name)
        for name in STAGES
    },
    "language_death": check_death,
}
"""What is asked of one cluster."""


def _wait_until_ready(client: Client, model: str) -> None:
    gives_up_at_s = time.monotonic() + _READY_S
    while time.monotonic() < gives_up_at_s:
        (version,) = client.status(model).versions
        if version.state == "READY":
            return
        if any(one.state == cluster_pb2.WORKER_STATE_FAILED for one in _workers(client, model)):
            break
        time.sleep(0.2)
    raise Differs(f"{model} is not served: {version.reason}")


def _ask(answers: Answers, model: str) -> list[Answer]:
    options = {"max_tokens": _TOKENS, "ignore_end": True, "logprobs": 0}
    return [answers.ask(model, prompt, **options) for prompt in PROMPTS]


def _held(root: Path, model: str, found: list[Answer]) -> str:
    if wrong := next((one.error for one in found if one.error), ""):
        raise Differs(wrong)
    judge = Judge(without_rounding(root / model / "1"))
    pairs = zip(PROMPTS, found, strict=True)
    tokens, even = expect_force([judge.hold(prompt, [one]) for prompt, one in pairs])
    return f"{tokens} tokens right, {even} of them as good as another"


def _workers(client: Client, model: str) -> list[Any]:
    (version,) = client.status(model).versions
    return [worker for stage in version.stages for worker in stage.workers]


def _where(client: Client, model: str) -> str:
    """Where its workers compute, and what they found of lost caches."""
    workers = _workers(client, model)
    expected = "cuda" if KIND == "KIND_GPU" else "cpu"
    if not all(worker.device.startswith(expected) for worker in workers):
        raise Differs(f"the workers are on {', '.join(worker.device for worker in workers)}")
    rebuild = weakest(worker.rebuild for worker in workers)
    return f"lost caches come back by {rebuild} on {workers[0].numeric_domain}"
