"""Asks a server what a case asks: checks its first answer, and measures it."""

import asyncio
import json
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from cases import WARMUP_S, Case
from inprocess import open_session
from loads import bare_client, h2load
from loads.answers import Judge, numbers_of
from models import MODELS, ensure
from servers import processor_s

from peers.environments import HERE
from peers.starting import DidNotServe, Peer, until_answered
from penstock.client.encoding import infer_request
from penstock.gateway.fronts.grpc.asgi.wire import framed
from penstock.loadgen.plan import METHOD
from penstock.loadgen.requests import first_answer

_SEED = 20240607


class Measured(NamedTuple):
    """One round.

    Attributes:
        work_us: processor time of all of the server's processes for each request.
    """

    per_s: float
    p50_ms: float
    work_us: float

    def value(self, case: Case) -> float:
        """What *case* compares."""
        return self.p50_ms if case.unit == "ms" else self.per_s


@dataclass(frozen=True)
class Asked:
    """A server that answers rightly.

    Attributes:
        row: the request's tensor.
    """

    case: Case
    peer: Peer
    row: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]"

    @classmethod
    def of(cls, case: Case, peer: Peer) -> "Asked":
        """Wait until it answers.

        Raises:
            DidNotServe: it does not, or not as the model does.
        """
        asked = cls(case, peer, _row(case.model))
        answer = until_answered(peer, asked.answer)
        session = open_session(ensure(case.model) / "1" / "model.onnx", 1)
        (expected,) = session.run(None, {"input": asked.row})
        got = np.frombuffer(answer, np.float32).reshape(expected.shape)
        if not np.allclose(got, expected, rtol=1e-3, atol=1e-4):
            raise DidNotServe("it does not answer as the model does")
        return asked

    def answer(self) -> bytes:
        """The only output, for the row."""
        if self.peer.http is not None:
            url = f"http://127.0.0.1:{self.peer.http}/inference"
            with urllib.request.urlopen(url, self.row.tobytes(), timeout=10) as answer:
                return answer.read()  # type: ignore[no-any-return]
        return numbers_of(self._reply()).tobytes()

    def _reply(self) -> bytes:
        return asyncio.run(first_answer(self.peer.server.address, self.request()))

    def request(self) -> bytes:
        """As gRPC has it."""
        return infer_request(self.case.model, {"input": self.row}).SerializeToString()

    def measure(self, seconds: float) -> Measured:
        """One round.

        Raises:
            DidNotServe, LoadFailed: requests failed.
        """
        before_s = processor_s(self.peer.server)
        if len(self.row.tobytes()) <= h2load.SMALL_BYTES:
            load = self._by_h2load
        else:
            load = self._by_http if self.peer.http else self._by_grpc
        per_s, p50_ms, requests = load(seconds)
        spent_s = processor_s(self.peer.server) - before_s
        return Measured(per_s, p50_ms, spent_s / max(1, requests) * 1e6)

    def _by_h2load(self, seconds: float) -> h2load.Load:
        """Small requests to every server: a client of Python would be most of what is measured."""
        over_http, server = self.peer.http is not None, self.peer.server
        at = f"127.0.0.1:{self.peer.http}/inference" if over_http else f"{server.address}{METHOD}"
        return h2load.load(
            f"http://{at}",
            self.row.tobytes() if over_http else framed(self.request()),
            len(self.answer()),
            callers=self.case.concurrency,
            warmup_s=WARMUP_S,
            seconds=seconds,
            grpc=not over_http,
        )

    def _by_grpc(self, seconds: float) -> h2load.Load:
        """Large requests, for the same reason."""
        return bare_client.load(
            self.peer.server,
            METHOD,
            framed(self.request()),
            Judge(self._reply()).is_right,
            callers=self.case.concurrency,
            warmup_s=WARMUP_S,
            seconds=seconds,
        )

    def _by_http(self, seconds: float) -> tuple[float, float, float]:
        words = HERE / "http_load.py", self.peer.http, self.case.concurrency, WARMUP_S, seconds
        done = subprocess.run(
            [sys.executable, *map(str, words)],
            input=self.row.tobytes(),
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise DidNotServe(done.stderr.decode(errors="replace")[-300:])
        found = json.loads(done.stdout)
        return found["per_s"], found["p50_ms"], found["requests"]


def _row(model: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
    """A request's tensor: one row."""
    datatype, dims = MODELS[model][2]["input"]
    random, shape = np.random.default_rng(_SEED), (1, *map(int, dims.split(",")))
    if datatype == "TYPE_INT64":
        return random.integers(0, 8, shape).astype(np.int64)
    return random.standard_normal(shape).astype(np.float32)
