"""ONNX's own node tests, served: each loaded, asked over gRPC, held against what ONNX expects.

    make node-tests               all of them, with a table of what came of them
    make node-tests CASES=300     as many, evenly out of all

Each case is a model without config.pbtxt. A case that is answered otherwise than ONNX expects is
asked of ONNX Runtime itself, without Penstock: where that says the same, the difference is its own.
"""

import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tritonclient.grpc.aio as triton
from support.models.node_cases import difference, node_cases
from support.processes.cluster import Cluster
from tritonclient.utils import InferenceServerException

from penstock.client import AsyncClient, BFloat16
from penstock.errors import PenstockError

AT_ONCE = 4
"""Models that are loaded and asked at the same time."""

EVERY = 100
"""Cases after which it says how far it is."""

EXPLICIT = ("--model-control-mode", "explicit")

RIGHT, AS_RUNTIME, RANDOM, REFUSED, WRONG = (
    "right",
    "as ONNX Runtime has it",
    "random, of the right shape",
    "refused",
    "wrong",
)


@dataclass(frozen=True)
class Outcome:
    """What came of one case.

    Attributes:
        why: it was refused, or what is wrong.
    """

    case: str
    what: str
    why: str = ""


async def served(url, root, cases, tell=lambda _: None):
    """The outcome of each case, on a cluster that has its repository at *root*; each is told."""
    room = asyncio.Semaphore(AT_ONCE)
    async with triton.InferenceServerClient(url) as control, AsyncClient(url) as client:

        async def one(case):
            async with room:
                outcome = await _served(control, client, root, case)
                tell(outcome)
                return outcome

        async with asyncio.TaskGroup() as all_cases:
            tasks = [all_cases.create_task(one(case)) for case in cases]
        return [task.result() for task in tasks]


async def _served(control, client, root, case):
    folder = Path(root) / case.name
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(case.model)
    try:
        await control.load_model(case.name)
        return await _asked(client, case)
    except InferenceServerException as error:
        return Outcome(case.name, REFUSED, error.message())
    finally:
        await control.unload_model(case.name)
        shutil.rmtree(folder)


async def _asked(client, case):
    request = case.request()
    if request is None:
        return Outcome(case.name, WRONG, "it was loaded, and the protocol cannot carry its inputs")
    try:
        answer = await client.infer(case.name, request, deadline_s=60)
    except PenstockError as error:
        return Outcome(case.name, REFUSED, f"the request: {error}")
    found = case.difference(answer)
    if not found:
        return Outcome(case.name, RIGHT)
    return await asyncio.to_thread(_held_against_runtime, case, request, answer, found)


def _held_against_runtime(case, request, answer, found):
    """Whether what differs from ONNX's expectation is the runtime's own."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(case.model, options, providers=["CPUExecutionProvider"])
    if any(isinstance(value, BFloat16) for value in request.values()):
        return Outcome(case.name, WRONG, found)
    own, again = (session.run(list(case.outputs), request) for _ in range(2))
    for name, first, second in zip(case.outputs, own, again, strict=True):
        if difference(first, answer[name], 1e-5, 1e-6):
            differs = not np.array_equal(first, second) and first.shape == answer[name].shape
            return Outcome(case.name, RANDOM if differs else WRONG, found)
    return Outcome(case.name, AS_RUNTIME, found)


def table(outcomes):
    """Lines: how many of each kind, and the reasons of what was not right."""
    counts = Counter(outcome.what for outcome in outcomes)
    kinds = (RIGHT, AS_RUNTIME, RANDOM, REFUSED, WRONG)
    yield from (f"{counts[kind]:6}  {kind}" for kind in kinds)
    reasons = Counter(_reason(one) for one in outcomes if one.what == REFUSED)
    yield "\nRefused, and why:"
    yield from (f"{count:6}  {reason}" for reason, count in reasons.most_common())
    for kind in (AS_RUNTIME, RANDOM, WRONG):
        yield f"\n{kind.capitalize()}:"
        yield from (f"  {one.case}: {one.why[:160]}" for one in outcomes if one.what == kind)


def _reason(outcome):
    """The same text for the same reason: without the model's name, in front."""
    text = outcome.why.replace(outcome.case, "MODEL")
    return text[text.find("model.onnx") :] if "model.onnx" in text else text


def progress(total):
    """What tells now and then, on standard error, how far it is: all of them take a while."""
    started_s, counts = time.monotonic(), Counter()

    def tell(outcome):
        counts[outcome.what] += 1
        done = counts.total()
        if done % EVERY == 0:
            passed_s = time.monotonic() - started_s
            told = ", ".join(f"{count} {what}" for what, count in counts.most_common())
            print(f"{done} of {total} in {passed_s:.0f} s: {told}", file=sys.stderr, flush=True)

    return tell


def main(count):
    """Serve *count* cases, or all for 0; exit status 1 if any is wrong."""
    cases = list(node_cases().values())
    chosen = cases[:: max(1, len(cases) // count)] if count else cases
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "models"
        root.mkdir()
        with Cluster(Path(folder) / "run", root, *EXPLICIT).running() as cluster:
            outcomes = asyncio.run(served(cluster.url, root, chosen, progress(len(chosen))))
    print(f"{len(chosen)} of {len(cases)} node tests of ONNX, served over gRPC", end="\n\n")
    print(*table(outcomes), sep="\n")
    return int(any(outcome.what == WRONG for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
