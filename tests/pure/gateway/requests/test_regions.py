"""Shared memory of clients: what may be registered, and that nothing beyond it is touched."""

import os
import resource
import uuid
from pathlib import Path

import pytest

from penstock.errors import Code, InvalidRequest, PermissionDenied
from penstock.gateway.fronts.grpc.connections import is_local
from penstock.gateway.fronts.grpc.shared_memory import SharedMemory
from penstock.gateway.requests.shared_memory.regions import (
    NotHere,
    RegionExists,
    RegionNotFound,
    Regions,
    SegmentUnusable,
    TooManyRegions,
)

SEGMENTS = Path("/dev/shm")  # noqa: S108 - where shared memory is


@pytest.fixture
def regions():
    found = Regions(most_bytes=1024).of("")
    yield found
    found.unregister("")


@pytest.fixture
def segment():
    """A segment of 16 bytes, as clients make them."""
    path = SEGMENTS / f"test-{uuid.uuid4().hex}"
    path.write_bytes(bytes(range(16)))
    yield path
    path.unlink(missing_ok=True)


def handles():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_part_of_a_segment_is_read_and_written(regions, segment):
    regions.register("r", f"/{segment.name}", 4, 8)

    region = regions.named("r")
    region.write(2, b"ab")

    assert region.read(0, 8) == bytes([4, 5]) + b"ab" + bytes([8, 9, 10, 11])
    assert segment.read_bytes()[:8] == bytes([0, 1, 2, 3, 4, 5]) + b"ab"


@pytest.mark.parametrize(("offset", "size"), [(0, 17), (16, 1), (4, 13), (0, 0), (2**63, 2**63)])
def test_what_is_not_in_the_segment_is_refused(regions, segment, offset, size):
    before = handles()

    with pytest.raises(InvalidRequest, match="are not in"):
        regions.register("r", segment.name, offset, size)

    assert handles() == before


@pytest.mark.parametrize(
    ("offset", "size", "text"),
    [
        (9, 0, "Invalid offset for"),
        (-1, 1, "Invalid offset for"),
        (0, 9, r"Invalid offset \+ byte size for"),
        (8, 1, r"Invalid offset \+ byte size for"),
        (2**62, 1, "Invalid offset for"),
    ],
)
def test_nothing_beyond_a_region_is_touched(regions, segment, offset, size, text):
    regions.register("r", segment.name, 4, 8)

    with pytest.raises(InvalidRequest, match=text):
        regions.named("r").read(offset, size)


def test_a_segment_that_became_shorter_is_an_error(regions, segment):
    regions.register("r", segment.name, 0, 16)
    os.truncate(segment, 4)

    with pytest.raises(InvalidRequest, match=r"Invalid offset \+ byte size"):
        regions.named("r").read(0, 16)
    with pytest.raises(InvalidRequest, match=r"Invalid offset \+ byte size"):
        regions.named("r").write(8, b"x")

    assert segment.stat().st_size == 4


@pytest.mark.parametrize("key", ["", "/", ".", "..", "/../etc/passwd", "a/b", "a\0b", "x" * 256])
def test_what_is_no_key_is_refused(regions, key):
    with pytest.raises(InvalidRequest, match="is no key of a shared memory segment"):
        regions.register("r", key, 0, 1)


def test_segments_of_penstock_itself_are_refused(regions):
    with pytest.raises(InvalidRequest, match="must not begin with 'penstock'"):
        regions.register("r", "/penstock-1", 0, 1)


def test_semaphores_are_no_segments(regions):
    with pytest.raises(InvalidRequest, match=r"must not begin with 'penstock' or 'sem\.'"):
        regions.register("r", "/sem.lock", 0, 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="the kernel refuses everybody else")
def test_another_users_segment_is_refused_unless_it_is_shared_with_all(regions, segment):
    os.chown(segment, 12345, 12345)
    segment.chmod(0o600)
    before = handles()

    with pytest.raises(InvalidRequest, match="is of another user, who shares it with nobody"):
        regions.register("r", segment.name, 0, 1)

    assert handles() == before
    segment.chmod(0o666)
    regions.register("r", segment.name, 0, 1)


def test_a_client_cannot_take_all_files_that_a_gateway_may_open(segment):
    found = Regions(most_bytes=1024, most_regions=3).of("")
    for name in "abc":
        found.register(name, segment.name, 0, 1)
    before = handles()

    with pytest.raises(TooManyRegions, match=r"3 shared memory regions .* unregister some"):
        found.register("d", segment.name, 0, 1)

    assert handles() == before
    found.unregister("a")
    found.register("d", segment.name, 0, 1)
    found.unregister("")


def test_most_files_are_left_for_connections():
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    assert Regions(most_bytes=1).most_regions <= files / 4


@pytest.mark.parametrize("stranger", ["", "ipv4:10.0.0.1:1"])
def test_callers_elsewhere_use_no_regions(stranger):
    with pytest.raises(NotHere, match=r"connect to 127\.0\.0\.1"):
        SharedMemory(Regions(1)).check(local=is_local(stranger))
    SharedMemory(Regions(1)).check(local=is_local("ipv4:127.0.0.1:1"))


def test_what_is_no_segment_is_refused(regions, segment):
    link = SEGMENTS / f"{segment.name}-link"
    link.symlink_to("/etc/hosts")
    pipe = SEGMENTS / f"{segment.name}-pipe"
    os.mkfifo(pipe)
    try:
        with pytest.raises(SegmentUnusable, match="Unable to open shared memory region"):
            regions.register("r", link.name, 0, 1)
        with pytest.raises(InvalidRequest, match="is no shared memory segment"):
            regions.register("r", pipe.name, 0, 1)
    finally:
        link.unlink()
        pipe.unlink()


def test_a_segment_that_there_is_not_is_refused(regions):
    with pytest.raises(SegmentUnusable, match="Unable to open shared memory region: '/nothing'"):
        regions.register("r", "/nothing", 0, 1)


def test_a_name_is_taken_once_and_free_afterwards(regions, segment):
    regions.register("r", segment.name, 0, 1)
    with pytest.raises(RegionExists) as caught:
        regions.register("r", segment.name, 0, 1)
    regions.unregister("r")
    regions.unregister("r")
    regions.register("r", segment.name, 0, 1)

    assert caught.value.code is Code.ALREADY_EXISTS
    assert [one.name for one in regions] == ["r"]


def test_all_can_be_forgotten_at_once_and_keep_nothing_open(regions, segment):
    before = handles()
    for name in "abc":
        regions.register(name, segment.name, 0, 1)

    regions.unregister("")

    assert list(regions) == []
    assert handles() == before
    with pytest.raises(RegionNotFound, match="Unable to find shared memory region: 'a'"):
        regions.named("a")


@pytest.fixture
def teams():
    """Two teams on one gateway."""
    both = Regions(most_bytes=1024)
    one, other = both.of("vision"), both.of("speech")
    yield one, other
    one.unregister("")
    other.unregister("")


def test_a_team_knows_nothing_of_anothers_regions(teams, segment):
    one, other = teams
    one.register("r", segment.name, 0, 16)

    other.unregister("r")
    other.unregister("")

    with pytest.raises(RegionNotFound):
        other.named("r")
    assert list(other) == []
    assert [region.name for region in one] == ["r"]


def test_a_name_is_one_teams_alone(teams, segment):
    one, other = teams
    second = SEGMENTS / f"test-{uuid.uuid4().hex}"
    second.write_bytes(b"second")
    one.register("r", segment.name, 0, 16)
    try:
        other.register("r", second.name, 0, 6)
    finally:
        second.unlink()

    assert other.named("r").read(0, 6) == b"second"
    assert one.named("r").read(0, 2) == bytes([0, 1])


def test_a_segment_is_one_teams_alone_by_whichever_name(teams, segment):
    one, other = teams
    alias = SEGMENTS / f"test-{uuid.uuid4().hex}"
    os.link(segment, alias)
    one.register("r", segment.name, 0, 8)
    before = handles()
    try:
        for key in (segment.name, alias.name):
            with pytest.raises(PermissionDenied, match="another team"):
                other.register("mine", key, 8, 8)
    finally:
        alias.unlink()

    assert handles() == before
    one.unregister("r")
    other.register("mine", segment.name, 8, 8)
