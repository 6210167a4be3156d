"""Asks a server what a case asks: checks its first answer, and measures it."""

import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from cases import WARMUP_S, Case
from inprocess import open_session
from models import MODELS, ensure
from servers import processor_s

from peers.environments import HERE
from peers.starting import DidNotServe, Peer, until_answered
from penstock.loadgen.fleet import run_load
from penstock.loadgen.plan import METHOD, Plan
from penstock.loadgen.requests import first_answer
from penstock.protos import grpc_service_pb2 as pb

_SEED = 20240607
_CONNECTIONS = 8
"""Of the load, to each server: some spread connections, and not requests, over processes."""

SMALL_BYTES = 1 << 12

_TRAILERS = ("-H", "te: trailers")

_NUMPY = {"TYPE_FP32": ("FP32", np.float32), "TYPE_INT64": ("INT64", np.int64)}


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
                body: bytes = answer.read()
                return body
        reply = asyncio.run(first_answer(self.peer.server.address, self.request()))
        output = pb.ModelInferResponse.FromString(reply)
        raw = output.raw_output_contents
        if raw:
            return bytes(raw[0])
        return np.array(output.outputs[0].contents.fp32_contents, np.float32).tobytes()

    def request(self) -> bytes:
        """As gRPC has it."""
        datatype = _NUMPY[MODELS[self.case.model][2]["input"][1]][0]
        request = pb.ModelInferRequest(model_name=self.case.model)
        request.inputs.add(name="input", datatype=datatype, shape=self.row.shape)
        request.raw_input_contents.append(self.row.tobytes())
        return request.SerializeToString()

    def measure(self, seconds: float) -> Measured:
        """One round.

        Raises:
            DidNotServe: requests failed.
        """
        before_s = processor_s(self.peer.server)
        if len(self.row.tobytes()) <= SMALL_BYTES:
            load = self._by_h2load
        else:
            load = self._by_http if self.peer.http else self._by_grpc
        per_s, p50_ms, requests = load(seconds)
        spent_s = processor_s(self.peer.server) - before_s
        return Measured(per_s, p50_ms, spent_s / max(1, requests) * 1e6)

    def _by_h2load(self, seconds: float) -> tuple[float, float, float]:
        """Small requests to every server: a client of Python would be most of what is measured."""
        callers, answer = self.case.concurrency, len(self.answer())
        over_http = self.peer.http is not None
        body = self.row.tobytes() if over_http else framed(self.request())
        place = f"127.0.0.1:{self.peer.http}/inference" if over_http else self._method()
        connections = callers if over_http else min(_CONNECTIONS, callers)
        with tempfile.TemporaryDirectory() as folder:
            sent, log = Path(folder) / "body", Path(folder) / "log"
            sent.write_bytes(body)
            how = ("--h1",) if over_http else ("-H", "content-type: application/grpc", *_TRAILERS)
            words = ("-c", connections, "-m", callers // connections, "-D", seconds, *how)
            done = subprocess.run(
                [
                    *("h2load", "-t", "1", "--warm-up-time", f"{WARMUP_S:g}", "-d", str(sent)),
                    *("--log-file", str(log), *map(str, words), f"http://{place}"),
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise DidNotServe(f"h2load: {done.stdout[-200:]}{done.stderr[-200:]}")
            times = [line.split("\t") for line in log.read_text().splitlines()]
        took_us = [int(fields[2]) for fields in times if fields[1] == "200"]
        # A call that fails says so in trailers, which it does not look at: no answer is empty.
        data = re.search(r"\((\d+)\) data$", done.stdout, re.MULTILINE)
        if not took_us or len(took_us) < len(times) or data is None:
            raise DidNotServe(f"requests failed: {done.stdout[-400:]}")
        if int(data[1]) < 0.98 * answer * len(took_us):
            raise DidNotServe("answers are shorter than the first one")
        warm = (seconds + WARMUP_S) / seconds
        return len(took_us) / seconds, statistics.median(took_us) / 1000, len(took_us) * warm

    def _method(self) -> str:
        return f"{self.peer.server.address}{METHOD}"

    def _by_grpc(self, seconds: float) -> tuple[float, float, float]:
        callers = self.case.concurrency
        plan = Plan(
            target=self.peer.server.address,
            requests=(self.request(),),
            concurrency=callers,
            connections=min(_CONNECTIONS, callers),
            warmup_s=WARMUP_S,
            duration_s=seconds,
        )
        outcome = asyncio.run(run_load(plan))
        if outcome.failed or not outcome.answered:
            raise DidNotServe(f"{outcome.failed} requests failed: {outcome.messages}")
        sent = outcome.throughput_per_s * (seconds + WARMUP_S)
        return outcome.throughput_per_s, outcome.latency_ms(0.5), sent

    def _by_http(self, seconds: float) -> tuple[float, float, float]:
        words = (self.peer.http, self.case.concurrency, WARMUP_S, seconds)
        done = subprocess.run(
            [sys.executable, str(HERE / "http_load.py"), *map(str, words)],
            input=self.row.tobytes(),
            capture_output=True,
            check=False,
        )
        if done.returncode:
            raise DidNotServe(done.stderr.decode(errors="replace")[-300:])
        found = json.loads(done.stdout)
        return found["per_s"], found["p50_ms"], found["requests"]


def framed(message: bytes) -> bytes:
    """A message as gRPC has it in a body."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def _row(model: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
    """A request's tensor: one row."""
    _, datatype, dims = MODELS[model][2]["input"]
    random, shape = np.random.default_rng(_SEED), (1, *map(int, dims.split(",")))
    if datatype == "TYPE_INT64":
        return random.integers(0, 8, shape).astype(np.int64)
    return random.standard_normal(shape).astype(np.float32)
