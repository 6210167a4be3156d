"""docs/a-request.md walks one request through the code: a real one is followed beside it."""

import asyncio
import re
import sys
from collections import Counter
from itertools import groupby
from pathlib import Path

import pytest
from support.processes.front import message, serving
from support.waiting import until

from penstock import gateway

ROOT = Path(gateway.__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "a-request.md").read_text()
STOPS = re.findall(r"^\d+\. (.*(?:\n {3}.*)*)", PAGE, re.MULTILINE)
MOST_STOPS = 10
MOST_FILES = 10
"""Of the gateway: who looks for a fault in the way of a request reads no more."""

DOOR = "gateway/fronts/grpc/aio/server.py"
TAKEN = "gateway/requests/infer.py"


class Follower:
    """Notes which files of the gateway each task enters: by a call, or going on after a wait."""

    def __init__(self):
        self._ways = {}

    def __enter__(self):
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)

    def _note(self, frame, event, _):
        if event != "call" or (file := _file_of(frame)) is None:
            return
        if file != _file_of(_caller(frame)):
            self._ways.setdefault(asyncio.current_task(), []).append(file)

    def way(self):
        """The files that the request passed, from the moment at which its message was there."""
        (way,) = [way for way in self._ways.values() if DOOR in way and TAKEN in way]
        reading = way[: way.index(TAKEN)].index("gateway/fronts/grpc/calls.py")
        return [file for file, _ in groupby(way[reading + 1 :])]


def _caller(frame):
    """Whose call it is; `contextlib` calls on somebody's behalf."""
    frame = frame.f_back
    while frame is not None and frame.f_code.co_filename.endswith("contextlib.py"):
        frame = frame.f_back
    return frame


def _file_of(frame):
    if frame is None or "/gateway/" not in frame.f_code.co_filename:
        return None
    path = Path(frame.f_code.co_filename).resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT / "gateway") else None


@pytest.fixture
async def way(redis_url):
    async with serving(redis_url, values=1, grpc_front="aio") as front:
        with Follower() as follower:
            call = asyncio.ensure_future(front.infer(message(values=1)))

            async def claimed():
                return next(iter((await front.probe.claim(rows=1)).leases), None)

            await front.probe.settle(await until(claimed))
            await call
        return follower.way()


async def test_the_page_names_what_a_request_passes_in_order(way):
    named = [re.findall(r"`(gateway/[\w/]+\.py)`", stop) for stop in STOPS]
    stop_of = {file: at for at, files in enumerate(named) for file in files}
    first = list(dict.fromkeys(way))

    assert sorted(first) == sorted(stop_of)
    assert [stop_of[file] for file in first] == sorted(stop_of[file] for file in first)
    assert len(STOPS) <= MOST_STOPS


async def test_a_request_passes_few_files_and_none_three_times(way):
    times = Counter(way)

    assert len(times) <= MOST_FILES
    assert max(times.values()) <= 2, way


def test_the_page_names_files_that_there_are():
    for file in re.findall(r"`(\w+/[\w/]+\.(?:py|lua))`", PAGE):
        assert (ROOT / file).is_file(), file
