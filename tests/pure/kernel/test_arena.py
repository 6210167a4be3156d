"""Arenas: what one process lends, its neighbours read; and what is gone is never taken for it."""

import itertools
import os
import random
import subprocess
import sys

import pytest
from google.protobuf.message import DecodeError

from penstock.protos.grpc_service_pb2 import ModelInferRequest
from penstock.transport.arena import Arena, ArenaReader, OutOfReach, is_handle, memory_domain

MIB = 1 << 20
LARGE = bytes(range(256)) * 1024

READS = """
import sys
from penstock.transport.arena import ArenaReader, memory_domain
print(memory_domain())
print(ArenaReader().read(bytes.fromhex(sys.argv[1])).hex())
"""
LENDS = """
import sys
from penstock.transport.arena import Arena
arena = Arena(1 << 20)
print(arena.lend(b"from another process").handle.hex(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def arena():
    arena = Arena(MIB)
    yield arena
    arena.close()


@pytest.fixture
def reader():
    return ArenaReader()


@pytest.fixture
def other():
    """Another process that lends something."""
    with subprocess.Popen(
        [sys.executable, "-c", LENDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield process
        process.stdin.close()


def lent_by(other):
    return bytes.fromhex(other.stdout.readline().decode())


def taken_bytes(arena):
    """What the system has given it."""
    return os.fstat(arena._file).st_blocks * 512


def test_another_process_reads_what_is_lent(arena):
    loan = arena.lend(LARGE)

    done = subprocess.run(
        [sys.executable, "-c", READS, loan.handle.hex()],
        check=True,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )

    domain, read = done.stdout.splitlines()
    assert bytes.fromhex(read) == LARGE
    assert domain == memory_domain() != ""


def test_a_handle_is_small_and_no_request(arena):
    handle = arena.lend(LARGE).handle

    assert is_handle(handle)
    assert len(handle) < 128
    with pytest.raises(DecodeError):
        ModelInferRequest.FromString(handle)


@pytest.mark.parametrize("payload", [None, b"", ModelInferRequest(id="7").SerializeToString()])
def test_what_is_no_handle(payload):
    assert not is_handle(payload)


def test_several_loans_lie_apart(arena, reader):
    payloads = [os.urandom(size) for size in (1, 4088, 4089, 100_000)]

    loans = [arena.lend(payload) for payload in payloads]

    assert [reader.read(loan.handle) for loan in loans] == payloads
    assert arena.lent_bytes == 4096 + 4096 + 8192 + 102_400


def test_a_place_that_was_used_again_is_not_what_it_was(arena, reader):
    first = arena.lend(LARGE)
    assert reader.read(first.handle) == LARGE
    arena.take_back(first)
    second = arena.lend(LARGE[::-1])

    assert second.at == first.at
    with pytest.raises(OutOfReach, match="taken back"):
        reader.read(first.handle)
    assert reader.read(second.handle) == LARGE[::-1]


def test_what_is_full_lends_nothing_until_something_comes_back(arena):
    loan = arena.lend(b"x" * (MIB - 8))

    assert arena.lend(b"y") is None
    arena.take_back(loan)
    assert arena.lend(b"y") is not None


def test_nothing_larger_than_the_arena_is_lent(arena):
    assert arena.lend(b"x" * MIB) is None


def test_free_places_grow_together(arena):
    chance = random.Random(7)  # noqa: S311
    for _ in range(50):
        loans = []
        while (loan := arena.lend(b"x" * chance.randint(1, 60_000))) is not None:
            loans.append(loan)
        places = sorted((loan.at, loan.room) for loan in loans)
        assert all(a + room <= b for (a, room), (b, _) in itertools.pairwise(places))
        chance.shuffle(loans)
        for loan in loans:
            arena.take_back(loan)

    assert arena.lent_bytes == 0
    assert arena.lend(b"x" * (MIB - 8)) is not None


def test_memory_that_was_lent_goes_back_to_the_system(arena):
    least = 64 * 1024
    loan = arena.lend(b"x" * (MIB - 8))
    arena.trim(least)
    assert taken_bytes(arena) > MIB
    arena.take_back(loan)

    arena.trim(least)

    assert taken_bytes(arena) <= 4096 + least
    assert arena.lend(LARGE) is not None


def test_an_owner_that_has_ended_is_out_of_reach(other, reader):
    handle = lent_by(other)
    other.stdin.close()
    other.wait(30)

    with pytest.raises(OutOfReach, match="cannot be opened"):
        reader.read(handle)


def test_what_was_mapped_can_be_read_until_another_owner_comes(other, reader, arena):
    handle = lent_by(other)
    assert reader.read(handle) == b"from another process"
    other.stdin.close()
    other.wait(30)
    assert reader.read(handle) == b"from another process"

    reader.read(arena.lend(LARGE).handle)

    assert "1 arena" in repr(reader)
    with pytest.raises(OutOfReach):
        reader.read(handle)


def changed(handle, **changes):
    """*handle* with other numbers."""
    names = ("token", "process", "file", "at", "size", "number")
    found = dict(zip(names, handle.split(b" "), strict=True)) | changes
    return b" ".join(found.values())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"size": b"-1"}, "beyond"),
        ({"size": b"x"}, "says nothing"),
        ({"at": b"2097152"}, "beyond"),
        ({"at": b"0"}, "beyond"),
        ({"process": b"0"}, "cannot be opened"),
        ({"token": b"\x00"}, "another arena"),
        ({"number": b"1"}, "taken back"),
        ({"number": b"1 2"}, "says nothing"),
    ],
)
def test_a_damaged_handle_gives_nothing(arena, reader, change, why):
    handle = arena.lend(LARGE).handle

    with pytest.raises(OutOfReach, match=why):
        reader.read(changed(handle, **change))


def test_a_handle_of_some_other_file_opens_nothing(arena, reader, tmp_path):
    handle = arena.lend(LARGE).handle
    with (tmp_path / "file").open("wb") as file:
        number = str(file.fileno()).encode()

        with pytest.raises(OutOfReach, match="has no arena"):
            reader.read(changed(handle, file=number, token=b"\0"))


def test_a_handle_of_an_arena_before_opens_nothing(reader):
    first = Arena(MIB)
    handle = first.lend(LARGE).handle
    first.close()
    second = Arena(MIB)

    # A new one often gets the same number.
    with pytest.raises(OutOfReach, match=r"another arena|cannot be opened|has no arena"):
        reader.read(handle)
    second.close()
