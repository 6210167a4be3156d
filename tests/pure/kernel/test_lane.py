"""Frames between a gateway and a worker, and who may be at the other end."""

import asyncio
import os
import secrets
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.waiting import until

from penstock.transport.lane import (
    LEFT,
    Frames,
    Kind,
    LaneEnd,
    LaneJob,
    call,
    ends_in,
    frame,
    is_ours,
    jobs_in,
    lane_name,
    listen,
    packed_ends,
    packed_jobs,
    packed_room,
    room_in,
)

NUMBERS = st.integers(0, 2**32 - 1)
JOBS = st.lists(
    st.builds(LaneJob, NUMBERS, NUMBERS, NUMBERS, st.integers(0, 2**64 - 1), st.binary()),
    min_size=1,
)
ENDS = st.lists(
    st.builds(LaneEnd, NUMBERS, st.integers(0, LEFT), st.text(), st.binary()), min_size=1
)


@pytest.fixture
def name():
    return lane_name(f"test-{secrets.token_hex(8)}")


@given(JOBS, ENDS, NUMBERS, st.lists(st.integers(1, 40), max_size=200))
def test_frames_come_out_as_they_went_in_however_they_are_cut(jobs, ends, rows, cuts):
    sent = b"".join([*packed_jobs(jobs), *packed_ends(ends), *packed_room(rows)])
    frames, found = Frames(), []
    for size in cuts:
        found += frames.feed(sent[:size])
        sent = sent[size:]
    found += frames.feed(sent)

    assert [kind for kind, _ in found] == [Kind.JOBS, Kind.ENDED, Kind.ROOM]
    assert list(jobs_in(found[0][1])) == jobs
    assert list(ends_in(found[1][1])) == ends
    assert room_in(found[2][1]) == rows


def test_a_frame_without_content_is_one():
    assert Frames().feed(b"".join(frame(Kind.NOTED))) == [(Kind.NOTED, b"")]


def test_nobody_listens_where_no_worker_is(name):
    with pytest.raises(ConnectionRefusedError):
        call(name)


def test_a_lane_of_another_release_is_not_called(name):
    other = name.replace("lane-1-", "lane-2-")
    with listen(other), pytest.raises(OSError, match="another release"):
        call(other)


def test_a_name_is_taken_once(name):
    with listen(name), pytest.raises(OSError, match="in use"):
        listen(name)


async def test_both_ends_see_whose_the_other_is(name):
    seen = []

    class End(asyncio.Protocol):
        def connection_made(self, transport):
            seen.append(is_ours(transport))

    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(End, sock=listen(name))
    transport, _ = await loop.create_unix_connection(End, sock=call(name))
    await until(lambda: len(seen) == 2)
    transport.close()
    server.close()

    assert seen == [True, True]


@pytest.mark.parametrize(("user", "ours"), [(os.geteuid(), True), (os.geteuid() + 1, False)])
def test_another_users_process_is_not_ours(user, ours):
    class Peer:
        def getsockopt(self, level, option, size):
            assert (level, option) == (socket.SOL_SOCKET, socket.SO_PEERCRED)
            return struct.pack("3i", 1, user, 0)[:size]

    class Transport(asyncio.BaseTransport):
        def get_extra_info(self, name, default=None):
            return Peer() if name == "socket" else default

    assert is_ours(Transport()) is ours
