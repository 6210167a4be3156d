"""Small requests by h2load, whose own share of the machine is small beside a client of Python's."""

import re
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

SMALL_BYTES = 1 << 12
"""Of a request: h2load's frames are small, so that large requests would measure them."""

CONNECTIONS = 8
"""Of a load, to each server: some spread connections, and not requests, over processes."""

_GRPC = ("-H", "content-type: application/grpc", "-H", "te: trailers")


class LoadFailed(RuntimeError):
    """h2load did not run, or requests failed."""


class Load(NamedTuple):
    """What a load led to.

    Attributes:
        requests: those of the warm-up, too.
    """

    per_s: float
    p50_ms: float
    requests: float


def is_installed() -> bool:
    """Whether this machine has it; Debian's package is nghttp2-client."""
    return shutil.which("h2load") is not None


def load(
    url: str,
    body: bytes,
    answer_bytes: int,
    *,
    callers: int,
    warmup_s: float,
    seconds: float,
    grpc: bool = True,
) -> Load:
    """Send *body* to *url*, again and again.

    Args:
        answer_bytes: of a right answer.
        callers: requests under way at any time.
        grpc: over HTTP/2, to a gRPC server; HTTP/1.1 otherwise.

    Raises:
        LoadFailed: requests failed, or answers are too short.
    """
    connections = min(CONNECTIONS, callers) if grpc else callers
    words = (
        *("-c", str(connections), "-m", str(callers // connections)),
        *("--warm-up-time", _ms(warmup_s), "-D", _ms(seconds)),
        *(_GRPC if grpc else ("--h1",)),
        url,
    )
    said, times = _run(body, words)
    # It forgets, at the end of the warm-up, the status of those whose headers it has by then.
    wrong = [fields for fields in times if fields[1] not in ("200", "0")]
    took_us = [int(fields[2]) for fields in times if fields[1] == "200"]
    # A call that fails says so in trailers, which it does not look at: no answer is empty.
    data = re.search(r"\((\d+)\) data$", said, re.MULTILINE)
    right = re.search(r" (\d+) succeeded, 0 failed, 0 errored, 0 timeout", said)
    if not took_us or wrong or len(took_us) < len(times) - callers or data is None or right is None:
        lines = [line for line in said.splitlines() if line.startswith(("req", "status"))]
        raise LoadFailed(f"requests failed: {'; '.join(lines) or said[-400:]}")
    answered = int(right[1])
    if int(data[1]) < 0.98 * answer_bytes * answered:
        raise LoadFailed("answers are shorter than the first one")
    all_of_it = answered * (seconds + warmup_s) / seconds
    return Load(answered / seconds, statistics.median(took_us) / 1000, all_of_it)


def _run(body: bytes, words: Sequence[str]) -> tuple[str, list[list[str]]]:
    """What it says of a load, and its log's fields: when each call began, its status, its time."""
    with tempfile.TemporaryDirectory() as folder:
        sent, log = Path(folder) / "body", Path(folder) / "log"
        sent.write_bytes(body)
        done = subprocess.run(
            ["h2load", "-t", "1", "-d", str(sent), "--log-file", str(log), *words],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LoadFailed(f"h2load: {done.stdout[-200:]}{done.stderr[-200:]}")
        return done.stdout, [line.split("\t") for line in log.read_text().splitlines()]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms"
