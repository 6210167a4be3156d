"""Whether a small machine carries many models: how soon, in how much memory, at what idle cost.

    python bench/many.py [--models N] [--tree DIR] [--json]

N copies of W1's network, in one `penstock up`: seconds until all are ready, PSS of each worker with
its share of the template, and what all processes together take of a core while nobody asks, after a
minute. Then a cluster in explicit mode with 20 models loaded, once in a repository of 20 and once
of 1,000: how long one more load takes.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
from models import REPOSITORY, ensure
from servers import Server, processor_s, serving_repository

from penstock.client import Client
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos.grpc_service_pb2_grpc import GRPCInferenceServiceStub

MODELS = 200
LOADED, OFFERED = 20, 1000

_READY_LIMIT_S = 60.0
_PSS_LIMIT_MIB = 25.0
_IDLE_LIMIT = 0.05
_LOAD_LIMIT = 1.2
"""A load among many, to one among few."""

_REST_S, _IDLE_S = 60.0, 20.0
"""A minute after the last request; all processes rest then."""

_LOADS = 9
_CORES = 2


@dataclass(frozen=True, slots=True)
class ManyResult:
    """What many models cost.

    Attributes:
        ready_s: until `penstock up` said that all are ready.
        pss_mib: of each worker, templates included.
        idle: processor time of all processes to time, while nobody asks.
        load_few_s, load_many_s: the median load in a repository of a few models, and of many.
    """

    models: int
    ready_s: float
    pss_mib: float
    idle: float
    load_few_s: float
    load_many_s: float

    @property
    def reached(self) -> bool:
        """All goals."""
        return (
            self.ready_s < _READY_LIMIT_S
            and self.pss_mib < _PSS_LIMIT_MIB
            and self.idle < _IDLE_LIMIT
            and self.load_many_s < _LOAD_LIMIT * self.load_few_s
        )

    def text(self) -> str:
        """One line for people."""
        verdict = "reached" if self.reached else "MISSED"
        return (
            f"{self.models} models: ready after {self.ready_s:.1f} s (goal < {_READY_LIMIT_S:g}), "
            f"{self.pss_mib:.1f} MiB each (goal < {_PSS_LIMIT_MIB:g}), {self.idle:.1%} of a core "
            f"while nobody asks (goal < {_IDLE_LIMIT:.0%}); a load takes {self.load_few_s:.2f} s "
            f"beside {LOADED} models, {self.load_many_s:.2f} s beside {OFFERED} "
            f"(goal < {_LOAD_LIMIT:g} times as long): {verdict}"
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "reached": self.reached}


def measure_many(models: int = MODELS, tree: Path | None = None) -> ManyResult:
    """Measure on two cores; *tree* has the sources to run, the installed ones by default."""
    psutil.Process().cpu_affinity(psutil.Process().cpu_affinity()[:_CORES])
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        repository = _repository(Path(folder), models)
        began_s = time.monotonic()
        with serving_repository(repository, tree=tree, patience_s=900) as server:
            ready_s = time.monotonic() - began_s
            _check_ready(server, models)
            time.sleep(_REST_S)
            pss_mib, idle = _pss_mib(server) / models, _idle(server)
    few, many = (_load_s(offered, tree) for offered in (LOADED + _LOADS, OFFERED))
    return ManyResult(models, ready_s, pss_mib, idle, few, many)


def _repository(folder: Path, models: int) -> Path:
    """*models* copies of one model, each a file of its own."""
    ensure("w1")
    content = (REPOSITORY / "w1" / "1" / "model.onnx").read_bytes()
    config = (REPOSITORY / "w1" / "config.pbtxt").read_text()
    for number in range(models):
        entry = folder / "models" / _name(number)
        (entry / "1").mkdir(parents=True)
        (entry / "1" / "model.onnx").write_bytes(content)
        (entry / "config.pbtxt").write_text(config.replace('"w1"', f'"{_name(number)}"'))
    return folder / "models"


def _name(number: int) -> str:
    return f"m{number:04}"


def _check_ready(server: Server, models: int) -> None:
    with Client(server.address, deadline_s=30) as client:
        for number in range(models):
            if not client.model_ready(_name(number)):
                raise RuntimeError(f"{_name(number)} is not ready, and the cluster says that it is")


def _pss_mib(server: Server) -> float:
    """PSS of all workers and templates."""
    kib = 0
    for process in psutil.Process(server.pid).children(recursive=True):
        if {"worker", "template"} & set(process.cmdline()):
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            kib += next(int(x.split()[1]) for x in rollup.splitlines() if x.startswith("Pss:"))
    return kib / 1024


def _idle(server: Server) -> float:
    before_s, began_s = processor_s(server), time.monotonic()
    time.sleep(_IDLE_S)
    return (processor_s(server) - before_s) / (time.monotonic() - began_s)


def _load_s(offered: int, tree: Path | None) -> float:
    """How long a client waits for a load, where `LOADED` of *offered* models are loaded."""
    loaded = [word for number in range(LOADED) for word in ("--load-model", _name(number))]
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        repository = _repository(Path(folder), offered)
        options = ("--model-control-mode", "explicit", *loaded)
        with (
            serving_repository(repository, *options, tree=tree, patience_s=900) as server,
            grpc.insecure_channel(server.address) as channel,
        ):
            stub = GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]
            took_s: list[float] = []
            for number in range(offered - _LOADS, offered):
                began_s = time.monotonic()
                stub.RepositoryModelLoad(
                    pb.RepositoryModelLoadRequest(model_name=_name(number)), timeout=120
                )
                took_s.append(time.monotonic() - began_s)
    return statistics.median(took_s)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What many models cost on two cores.")
    parser.add_argument("--models", type=int, default=MODELS)
    parser.add_argument("--tree", type=Path, help="sources to run, as those of an older revision")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure_many(options.models, options.tree)
    print(json.dumps(result.as_json(), indent=2) if options.json else result.text())
    sys.exit(0 if result.reached else 1)


if __name__ == "__main__":
    main()
