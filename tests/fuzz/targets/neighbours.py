"""What processes of one machine say to each other: lanes, hops, and handles of arenas."""

import asyncio
from types import SimpleNamespace

import numpy as np
from fuzz import mutations
from fuzz.engine import Target

from penstock.gateway.delivery.direct.worker_connections import (
    DirectJob,
    WorkerConnection,
)
from penstock.language.options import DecodingOptions
from penstock.models.config.policies import QueueLimits
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.types import NewJob
from penstock.transport.arena import Arena, ArenaReader, is_handle
from penstock.transport.lane import (
    Frames,
    Kind,
    LaneEnd,
    LaneJob,
    frame,
    packed_ends,
    packed_jobs,
    packed_room,
)
from penstock.workers.language.answer import Answer
from penstock.workers.language.batch import Batch
from penstock.workers.language.changes import Move, Take
from penstock.workers.language.message import Message, message_in, packed_message
from penstock.workers.serve import direct_server


class Transport(asyncio.Transport):
    """Takes all, keeps nothing."""

    def __init__(self):
        super().__init__()
        self.ended = False

    def writelines(self, parts):
        del parts

    def abort(self):
        self.ended = True

    close = abort

    def get_extra_info(self, name, default=None):
        del name, default


def fed(protocol, data):
    """Give *data* to *protocol* in pieces that the first byte is the size of; all must be taken."""
    size = data[0] + 1 if data else 1
    for at in range(1, len(data), size):
        if protocol._transport is None or protocol._transport.ended:
            break
        protocol.data_received(data[at : at + size])


def cut(data):
    """Frames, cut out of pieces: none may be larger than what came, nor be lost."""
    frames, total = Frames(), 0
    size = data[0] + 1 if data else 1
    for at in range(1, len(data), size):
        total += sum(5 + len(content) for _, content in frames.feed(data[at : at + size]))
    assert total + len(frames._rest) == max(0, len(data) - 1)


REF = StageRef("m", 1, 0)


def gateway(data):
    ended = []
    connection = WorkerConnection("gateway", ended.extend, ended.extend, lambda: None)
    connection._transport = Transport()
    jobs = [
        DirectJob(NewJob(f"j{i}", "g", REF, 0, 1, 1000, 0, b"p"), QueueLimits(9, 9), ended.append)
        for i in range(4)
    ]
    connection.hand(jobs)
    fed(connection, data)
    connection.connection_lost(None)
    # Each job has ended once, or is left once.
    assert len(ended) == len(jobs)


def worker(data):
    held = SimpleNamespace(
        take=lambda leases, _: len(leases) % 2 == 0,
        rows_at_once=lambda: 8,
        may_be_handed=True,
    )
    counters = SimpleNamespace(send=lambda then=None: then and then(), add=lambda *_: None)
    caller = direct_server._Caller(direct_server.DirectServer(held, counters), 1)
    caller._transport = Transport()
    fed(caller, data)
    caller.connection_lost(None)


ARENA = Arena(1 << 20)
LOAN = ARENA.lend(b"payload" * 100)
GIVEN_BACK = ARENA.lend(b"other" * 2000)
ARENA.take_back(GIVEN_BACK)
READER = ArenaReader()


def handle(data):
    if is_handle(data):
        payload = READER.read(data)
        assert len(payload) <= ARENA._size


def handles():
    words = LOAN.handle.split(b" ")
    zero = b" ".join([*words[:3], b"0", *words[4:]])
    return [LOAN.handle, GIVEN_BACK.handle, zero]


def sent(*frames):
    return bytes([255]) + b"".join(part for one in frames for part in one)


HELLO = frame(Kind.HELLO, b"gateway-1")
JOBS = packed_jobs([LaneJob(1, 1, 1000, 5, b"payload"), LaneJob(2, 3, 1000, 5, LOAN.handle)])
ENDS = packed_ends([LaneEnd(1, 0, "", b"reply"), LaneEnd(2, 13, "failed", b""),
                    LaneEnd(3, 255, "", b"")])  # fmt: skip
TO_GATEWAY = [sent(packed_room(8), ENDS, frame(Kind.NOTED), frame(Kind.BYE)), sent(ENDS)]
TO_WORKER = [sent(HELLO, JOBS, frame(Kind.NOTED)), sent(JOBS)]


def message(data):
    found = message_in(data)
    assert found.batch.columns.nbytes <= len(data)
    assert len(found.changes) * 20 <= len(data)


MESSAGE = b"".join(packed_message(Message(
    b"e" * 16, 7, (Move(2, 1, 9), Take(2, Answer([5, 6], DecodingOptions(seed=4), [7]))),
    Batch(np.ones((2, 1, 8), np.float32), np.array([9, 3], np.int64), 1, grows=True),
)))  # fmt: skip


def in_handle(data, random):
    """A handle with other numbers; the process and its file stay, which are this one's."""
    return mutations.text(data, random, words=(b" ", b"0", b"-1", b"4096"))


TARGETS = [
    Target("frames", "a lane's bytes, in pieces", TO_GATEWAY + TO_WORKER, cut,
           mutate=mutations.numbers),
    Target("lane", "a gateway's end of a lane", TO_GATEWAY, gateway, mutate=mutations.numbers),
    Target("direct server", "a worker's end of a lane", TO_WORKER, worker,
           mutate=mutations.numbers),
    Target("message", "a batch on its way to the next stage of a group", [MESSAGE], message,
           mutate=mutations.numbers),
    Target("handle", "handles of lent payloads", handles(), handle, mutate=in_handle),
]  # fmt: skip
