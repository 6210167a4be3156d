"""POSIX shared memory that clients on the gateway's own machine registered.

Segments are read and written with file operations rather than mapped: a client that shortens one
while it is in use gets an error, where a mapping would end the process. Every access is checked
against the region that was registered and against the segment as it is at that moment.

Only callers on this machine may name regions (`check_local`), and each team has regions of its own:
nobody sees, uses or takes away another's, nor has a part of a segment that another has registered.
"""

import os
import resource
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from penstock.errors import Code, InvalidRequest, PenstockError, PermissionDenied
from penstock.protos.wire import Buffer

_SEGMENTS: Final = Path("/dev/shm")  # noqa: S108 - where Linux has POSIX shared memory
_NOT_CLIENTS: Final = ("penstock", "sem.")
"""How the names begin of what is Penstock's own, and of semaphores, which lie there as well."""
_LONGEST_KEY: Final = 255
_MOST_REGIONS: Final = 4096
_OTHERS_MAY: Final = stat.S_IROTH | stat.S_IWOTH


class RegionExists(PenstockError):
    """The name is taken."""

    code = Code.ALREADY_EXISTS


class RequestTooLarge(PenstockError):
    """With its tensors in regions, a request is larger than a message may be."""

    code = Code.RESOURCE_EXHAUSTED


class SegmentUnusable(PenstockError):
    """There is no such segment, or it cannot be opened."""


class TooManyRegions(PenstockError):
    """Each region keeps a file open, and these are few."""

    code = Code.RESOURCE_EXHAUSTED


class NotHere(PenstockError):
    """Shared memory is for clients on the gateway's own machine."""

    code = Code.PERMISSION_DENIED


class RegionNotFound(PenstockError):
    """No region has that name."""

    code = Code.NOT_FOUND


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a segment, by the name that requests use.

    Attributes:
        key: the segment's, as `shm_open` takes it.
        offset: where the region begins in the segment.
        segment: device and number of its file, which other names may stand for as well.
    """

    name: str
    key: str
    offset: int
    byte_size: int
    handle: int
    segment: tuple[int, int]

    def place(self, offset: int, byte_size: int) -> int:
        """Where bytes at *offset* of the region are in the segment.

        Raises:
            InvalidRequest: they are not all in the region, or no longer in the segment.
        """
        if offset < 0 or offset > self.byte_size:
            raise InvalidRequest(f"Invalid offset for shared memory region: '{self.name}'")
        at = self.offset + offset
        ends = min(self.offset + self.byte_size, os.fstat(self.handle).st_size)
        if byte_size < 0 or at + byte_size > ends:
            raise InvalidRequest(
                f"Invalid offset + byte size for shared memory region: '{self.name}'"
            )
        return at

    def read(self, offset: int, byte_size: int) -> bytes:
        """A copy of bytes of the region."""
        at = self.place(offset, byte_size)
        parts: list[bytes] = []
        while byte_size > 0:
            part = os.pread(self.handle, byte_size, at)
            if not part:
                raise InvalidRequest(f"shared memory region '{self.name}' became shorter")
            parts.append(part)
            at, byte_size = at + len(part), byte_size - len(part)
        return b"".join(parts)

    def write(self, offset: int, data: Buffer) -> None:
        """Put *data* into the region."""
        view = memoryview(data)
        at = self.place(offset, len(view))
        while view:
            written = os.pwrite(self.handle, view, at)
            at, view = at + written, view[written:]


class Regions:
    """The regions of one gateway process, of all teams.

    Attributes:
        most_bytes: of the tensors that one request may have in regions.
        most_regions: that there may be; None for a quarter of the files that this process may
            have open, so that clients always find a connection.
    """

    def __init__(self, most_bytes: int, most_regions: int | None = None) -> None:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.most_bytes = most_bytes
        self.most_regions = most_regions or max(1, min(files // 4, _MOST_REGIONS))
        self._by_team: dict[str, dict[str, Region]] = {}

    def of(self, team: str) -> "TeamRegions":
        """Those of *team*; empty for callers who need no key."""
        return TeamRegions(self, team)

    def by_name(self, team: str) -> Mapping[str, Region]:
        """What *team* has at this moment."""
        return self._by_team.get(team, {})

    def add(self, team: str, region: Region) -> None:
        """One more of *team*.

        Raises:
            TooManyRegions, PermissionDenied: it cannot be; its handle is closed.
        """
        try:
            self._check(team, region)
        except PenstockError:
            os.close(region.handle)
            raise
        self._by_team.setdefault(team, {})[region.name] = region

    def remove(self, team: str, name: str) -> None:
        """Forget a region, if there is one."""
        regions = self._by_team.get(team, {})
        region = regions.pop(name, None)
        if region is not None:
            os.close(region.handle)
        if not regions:
            self._by_team.pop(team, None)

    def _check(self, team: str, region: Region) -> None:
        count = sum(map(len, self._by_team.values()))
        if count >= self.most_regions:
            raise TooManyRegions(
                f"{count} shared memory regions are registered, and that is the most: "
                "unregister some, or let one region hold several tensors at different offsets"
            )
        of_others = (
            other
            for name, regions in self._by_team.items()
            if name != team
            for other in regions.values()
        )
        if any(other.segment == region.segment for other in of_others):
            raise PermissionDenied(
                f"the shared memory segment '{region.key}' is in use by another team"
            )


class TeamRegions:
    """The regions of one team, by name."""

    def __init__(self, all_regions: Regions, team: str) -> None:
        self._all = all_regions
        self._team = team
        self.most_bytes = all_regions.most_bytes

    def __iter__(self) -> Iterator[Region]:
        return iter(self._own.values())

    @property
    def _own(self) -> Mapping[str, Region]:
        return self._all.by_name(self._team)

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Give a part of the segment *key* the name *name*.

        Raises:
            RegionExists, InvalidRequest, SegmentUnusable, TooManyRegions: it cannot be.
            PermissionDenied: another team has a part of that segment.
        """
        if not name:
            raise InvalidRequest("a shared memory region needs a name")
        if name in self._own:
            raise RegionExists(f"shared memory region '{name}' already in manager")
        handle = _open(key)
        found = os.fstat(handle)
        if byte_size <= 0 or offset + byte_size > found.st_size:
            os.close(handle)
            raise InvalidRequest(
                f"failed to register shared memory region '{name}': invalid args: {byte_size} "
                f"bytes at {offset} are not in '{key}', which has {found.st_size}"
            )
        segment = found.st_dev, found.st_ino
        self._all.add(self._team, Region(name, key, offset, byte_size, handle, segment))

    def unregister(self, name: str) -> None:
        """Forget a region, or all if *name* is empty; an unknown one is forgotten already."""
        for known in [name] if name else list(self._own):
            self._all.remove(self._team, known)

    def named(self, name: str, kind: str = "") -> Region:
        """The region with that name, of that *kind* as Triton has it where somebody asks for one.

        Raises:
            RegionNotFound: there is none.
        """
        region = self._own.get(name)
        if region is None:
            raise RegionNotFound(f"Unable to find {kind}shared memory region: '{name}'")
        return region


def _open(key: str) -> int:
    """A handle of the segment *key*; never of anything else.

    Raises:
        InvalidRequest: it is no segment that clients may use.
        SegmentUnusable: it is not there, or cannot be opened; with Triton's words.
    """
    name = key.lstrip("/")
    unfit = not name or name in {".", ".."} or "/" in name or "\0" in name
    if unfit or len(name.encode()) > _LONGEST_KEY:
        raise InvalidRequest(f"'{key}' is no key of a shared memory segment")
    if name.startswith(_NOT_CLIENTS):
        raise InvalidRequest(
            f"keys of clients must not begin with {' or '.join(map(repr, _NOT_CLIENTS))}, as "
            f"'{key}' does"
        )
    try:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        handle = os.open(_SEGMENTS / name, flags)
    except OSError as error:
        raise SegmentUnusable(f"Unable to open shared memory region: '{key}'") from error
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise InvalidRequest(f"'{key}' is no shared memory segment")
    if not _shared_with_us(found):
        os.close(handle)
        raise InvalidRequest(
            f"'{key}' is of another user, who shares it with nobody: let others read and write it "
            "(mode 0666), or run the client as the gateway's user"
        )
    return handle


def _shared_with_us(found: os.stat_result) -> bool:
    """Whether its owner lets us, also where we are root, whom the kernel lets do all."""
    return found.st_uid == os.geteuid() or found.st_mode & _OTHERS_MAY == _OTHERS_MAY


def check_local(*, local: bool) -> None:
    """Let only calls pass that came from this machine.

    Raises:
        NotHere: this one did not.
    """
    if not local:
        raise NotHere(
            "shared memory is for clients on the gateway's machine that connect to 127.0.0.1, "
            "[::1] or a Unix socket: connect there, or send tensors in the message"
        )
