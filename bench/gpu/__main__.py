"""``make gpu``: what only a machine with an NVIDIA GPU can show, in under eight minutes.

    python -m gpu [--only onnx_cuda W2 ...]

Serves small models on the GPU and compares their answers with numpy's, ruins the device on
purpose, holds the answers of language models against the processor's, and measures W2 and W3
against ONNX Runtime alone on the same GPU; without a network. Ends with 0 if all is as it should
be, with 1 if something is not, and with 2 where there is no GPU: then nothing was checked.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from cases import CASES, Case, best_inprocess, in_turn, load_of, requests_for
from models import ensure
from servers import RESULTS, serving_repository

from gpu import language
from gpu.models import GPU, ROWS_OF_TABLE, WIDTH, Array, layer, write_all
from penstock.client import Client, RetryPolicy
from penstock.client.encoding import bf16
from penstock.errors import PenstockError
from penstock.process import machine

NOT_CHECKED: Final = 2
MOST_S: Final = 460.0
"""What has not begun by then is left out, and said to be."""

_ROUNDS, _ROUND_S, _SEARCH_S = 3, 5.0, 1.0
_DEADLINE_S: Final = 90.0
_ONCE: Final = RetryPolicy(attempts=1)


class Wrong(Exception):
    """The GPU, or Penstock on it, does not do what it should."""


class Ended(NamedTuple):
    """How one check ended."""

    name: str
    fine: bool
    text: str
    seconds: float


def right(what: str, found: Array, expected: Array, tolerance: float = 2e-2) -> None:
    """Refuse numbers that are not those that were expected.

    Raises:
        Wrong: they are not; the tolerance leaves room for TF32.
    """
    if found.shape != expected.shape:
        raise Wrong(f"{what}: shape {found.shape}, not {expected.shape}")
    apart = float(np.max(np.abs(found.astype(np.float32) - expected), initial=0))
    if not apart <= tolerance:
        raise Wrong(f"{what} is off by {apart:.3g}")


def rows(count: int, seed: int = 0) -> Array:
    """[count, 64] FP32."""
    made = np.random.default_rng(seed).standard_normal((count, WIDTH))
    return made.astype(np.float32)


def check_layer(client: Client, model: str, output: str = "y", layers: int = 1) -> str:
    """Sixteen callers of different batch sizes; returns how many answers were right."""

    def ask(seed: int) -> None:
        x = rows(1 + seed % 5, seed)
        expected = x
        for _ in range(layers):
            expected = layer(expected)
        right(model, client.infer(model, {"x": x})[output], expected)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(64)))
    return "64 answers right"


def check_two_workers(client: Client, *_: object) -> str:
    """Both replicas are on the one device, and the record of each says so."""
    text = check_layer(client, "two_workers")
    (version,) = client.status("two_workers").versions
    places = sorted(worker.device for worker in version.stages[0].workers)
    if len(places) != 2 or set(places) != {"cuda:0"}:
        raise Wrong(f"the two workers are on {places}")
    return f"{text}; workers on {', '.join(places)}"


def check_half(client: Client, *_: object) -> str:
    """FP16 and BF16 go in and come out."""
    x = rows(3)
    got = client.infer("fp16", {"x": x.astype(np.float16)})["y"]
    right("fp16", got, (x.astype(np.float16) * 2).astype(np.float32))
    right("bf16", client.infer("bf16", {"x": bf16(x)})["y"], x * 2)
    return "both right"


def check_out_of_memory(client: Client, *_: object) -> str:
    """A request for more than the device has fails alone, and the next one is answered."""
    x = np.zeros(1, np.float32)
    try:
        client.infer("greedy", {"x": x, "rows": np.array([1 << 20])}, deadline_s=_DEADLINE_S)
    except PenstockError as error:
        text = str(error)
    else:
        raise Wrong("4 TiB were had of the device")
    small = client.infer("greedy", {"x": x, "rows": np.array([4])}, deadline_s=_DEADLINE_S)
    right("greedy", small["y"] / (4 << 20), np.array(1.0, np.float32))
    return f"refused: {text[:60]}"


def check_device_assert(client: Client, *_: object) -> str:
    """A request that stops the device for good: its neighbours are answered, it is set aside."""

    def ask(index: int) -> str:
        try:
            found = client.infer("asserting", {"i": np.array([[index]])}, deadline_s=_DEADLINE_S)
        except PenstockError as error:
            return str(error)
        right("asserting", found["y"], np.full((1, 1, 4), index, np.float32))
        return ""

    with ThreadPoolExecutor(8) as pool:
        bad, *good = list(pool.map(ask, (ROWS_OF_TABLE + 7, *range(7))))
    if not bad:
        raise Wrong("an index past the end was answered")
    if any(good):
        raise Wrong(f"a neighbour failed: {next(filter(None, good))}")
    ask(1)
    return f"7 neighbours right; set aside: {bad[:50]}"


SMALL: Final[dict[str, Callable[..., str]]] = {
    "onnx_cuda": lambda client, *_: check_layer(client, "onnx_cuda"),
    "pt2_cuda": lambda client, *_: check_layer(client, "pt2_cuda"),
    "two_workers": check_two_workers,
    "pipeline": lambda client, *_: check_layer(client, "pipeline", "z", layers=2),
    "half": check_half,
    "out_of_memory": check_out_of_memory,
    "device_assert": check_device_assert,
}
"""What is asked of one cluster, the device's ruin last."""

LARGE: Final = {case.name: case for case in CASES if case.name in ("W2", "W3")}


def compare(case: Case) -> str:
    """The throughput of a cluster as a share of ONNX Runtime's alone, on the same GPU."""
    with tempfile.TemporaryDirectory(prefix="penstock-gpu-") as folder:
        root = Path(folder) / "models"
        entry = ensure(case.model, Path(folder) / "made")
        root.mkdir()
        entry.rename(root / case.model)
        with (root / case.model / "config.pbtxt").open("a") as config:
            config.write(GPU)
        artifact = root / case.model / "1" / "model.onnx"
        best, theirs = best_inprocess(artifact, _SEARCH_S, "cuda")
        with serving_repository(root) as server:
            requests = asyncio.run(requests_for(server.address, case.model))
            ours = load_of(case, server.address, requests)
            pairs = list(in_turn(ours, theirs, _ROUND_S, _ROUNDS, lambda _: None))
    ratio = statistics.median(mine / raw for mine, raw in pairs)
    mine, raw = (statistics.median(side) for side in zip(*pairs, strict=True))
    return f"{mine:,.0f} of {raw:,.0f} items/s = {ratio:.2f} (best batch {best})"


def served_checks(
    checks: Mapping[str, Callable[..., str]], write: Callable[[Path], None]
) -> Iterator[Ended]:
    """What *checks* find of a cluster with the models that *write* makes."""
    if not checks:
        return
    with tempfile.TemporaryDirectory(prefix="penstock-gpu-") as folder:
        root = Path(folder) / "models"
        write(root)
        with serving_repository(root) as server, Client(server.address, retry=_ONCE) as client:
            for name, check in checks.items():
                yield timed(name, lambda check=check: check(client, server.address, root))


def timed(name: str, check: Callable[[], str]) -> Ended:
    """Do one check, unless it is too late for it."""
    began = time.monotonic()
    if began > _STARTED_S + MOST_S:
        return Ended(name, fine=False, text="not begun: the time was over", seconds=0.0)
    try:
        text, fine = check(), True
    except Exception as error:  # noqa: BLE001 - one that fails ends no other
        text, fine = f"{type(error).__name__}: {error}", False
    return Ended(name, fine, " ".join(text.split()), time.monotonic() - began)


def missing() -> str:
    """Why nothing can be checked here; empty if it can."""
    gpus = machine.gpus()
    if not gpus:
        return "no NVIDIA GPU: nvidia-smi reports none that this process may use"
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return f"there is {gpus[0].name}, but this ONNX Runtime has no CUDA: onnxruntime-gpu has"
    return ""


def main() -> int:
    """Check, print a line for each, keep all in results/gpu.json; the exit status."""
    parser = argparse.ArgumentParser(description="Check Penstock on an NVIDIA GPU.")
    names = [*SMALL, *language.CHECKS, *LARGE]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="CHECK")
    wanted = parser.parse_args().only
    if why := missing():
        print(f"{why}. Nothing was checked.", file=sys.stderr)
        return NOT_CHECKED
    facts: dict[str, Any] = {"gpus": [gpu.name for gpu in machine.gpus()], "checks": []}
    fine = True
    for ended in all_checks(wanted):
        state = "ok" if ended.fine else "NOT"
        print(f"{state:<4}{ended.name:<16}{ended.seconds:6.1f} s  {ended.text}", flush=True)
        facts["checks"].append(ended._asdict())
        fine = fine and ended.fine
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "gpu.json").write_text(json.dumps(facts, indent=2) + "\n")
    return 0 if fine else 1


def all_checks(wanted: list[str]) -> Iterator[Ended]:
    """Each as it ends; a cluster that does not start is one that failed."""
    groups = {
        "small models": (SMALL, write_all),
        # In another cluster: the device may be ruined in the first.
        "language models": (language.CHECKS, language.write_all),
    }
    for group, (checks, write) in groups.items():
        chosen = {name: check for name, check in checks.items() if name in wanted}
        try:
            yield from served_checks(chosen, write)
        except Exception as error:  # noqa: BLE001 - the others can be done without it
            yield Ended(group, fine=False, text=str(error), seconds=0.0)
    for name, case in LARGE.items():
        if name in wanted:
            yield timed(name, lambda case=case: compare(case))


_STARTED_S = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
