"""Arenas: memory that a process shares with its neighbours, for payloads too large to send around.

The owner puts bytes into its arena, and a handle of less than 128 bytes travels in their place. A
neighbour, a process on the same machine and of the same user, reads them by the handle. The arena
is a sealed memfd: it has no name in any file system, cannot shrink under a reader, and is gone
with the last process that has it open.

The owner may use a place again while somebody still reads there, since it does not know its
readers. Each place therefore begins with a number that is never used twice, and that no payload
holds by chance: a reader that does not find it before and after it has used the bytes, has none.
"""

import bisect
import contextlib
import fcntl
import mmap
import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeGuard

from penstock.errors import PenstockError

_MARK: Final = b"\0"
"""Begins a handle, and no protobuf message: there is no field 0."""

_NUMBER: Final = struct.Struct("<Q")
_NAME: Final = "penstock-arena"
_TOKEN_BYTES: Final = 16
_PAGE: Final = 4096
_TAKEN_BACK: Final = "the bytes have been taken back"


class OutOfReach(PenstockError):
    """What a handle stands for cannot be read: by this process, or by nobody any more."""


@dataclass(frozen=True, slots=True)
class Loan:
    """Bytes in an arena.

    Attributes:
        handle: by which neighbours read them.
        at, room: the place, which stays theirs until it is given back.
    """

    handle: bytes
    at: int
    room: int


def memory_domain() -> str:
    """What processes have in common that can read each other's arenas; empty where none can."""
    if sys.platform != "linux" or not hasattr(os, "memfd_create"):
        return ""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()} {os.geteuid()}"
    except OSError:
        return ""


def is_handle(payload: object) -> TypeGuard[bytes]:
    """Whether *payload* only says where one is."""
    return isinstance(payload, bytes) and payload[:1] == _MARK


class Arena:
    """Memory of this process that neighbours can read.

    Only what is used takes room, from the lowest address on; what was used once and is free again
    stays, until `trim`.
    """

    def __init__(self, size_bytes: int) -> None:
        """*size_bytes* is the most that can be lent at one time.

        Raises:
            OSError: the system has no such memory.
        """
        self._size = size_bytes // _PAGE * _PAGE
        self._token = os.urandom(_TOKEN_BYTES)
        self._file = os.memfd_create(_NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._file, _PAGE + self._size)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(self._file, fcntl.F_ADD_SEALS, seals)
        self._memory = mmap.mmap(self._file, _PAGE + self._size)
        self._memory[:_TOKEN_BYTES] = self._token
        self._free = [(_PAGE, self._size)]
        self._number = int.from_bytes(os.urandom(_NUMBER.size))
        self._touched = _PAGE
        self.lent_bytes = 0

    def __repr__(self) -> str:
        return f"Arena({self.lent_bytes} of {self._size} bytes lent)"

    def lend(self, payload: bytes | memoryview) -> Loan | None:
        """Put *payload* where neighbours can read it; None when there is no room."""
        room = -(-(_NUMBER.size + len(payload)) // _PAGE) * _PAGE
        at = self._take(room)
        if at is None:
            return None
        number = self._number = (self._number + 1) % (1 << 64)
        start = at + _NUMBER.size
        # First the number: whoever still reads what was here before finds that it is gone.
        _NUMBER.pack_into(self._memory, at, number)
        self._memory[start : start + len(payload)] = payload
        self._touched = max(self._touched, at + room)
        self.lent_bytes += room
        where = f"{self._token.hex()} {os.getpid()} {self._file} {at} {len(payload)} {number}"
        return Loan(_MARK + where.encode(), at, room)

    def take_back(self, loan: Loan) -> None:
        """Free a loan's place, which may be used again at once."""
        at, room = loan.at, loan.room
        self.lent_bytes -= room
        index = bisect.bisect(self._free, (at, room))
        if index < len(self._free) and self._free[index][0] == at + room:
            room += self._free.pop(index)[1]
        if index and sum(self._free[index - 1]) == at:
            index -= 1
            at, before = self._free.pop(index)
            room += before
        self._free.insert(index, (at, room))

    def trim(self, kept_bytes: int) -> bool:
        """Give what was used beyond *kept_bytes* back to the system, if nothing is lent.

        Returns whether no more than that is used any more.
        """
        kept = _PAGE + kept_bytes // _PAGE * _PAGE
        if self.lent_bytes or self._touched <= kept:
            return not self.lent_bytes
        with contextlib.suppress(OSError):
            self._memory.madvise(mmap.MADV_REMOVE, kept, self._touched - kept)
            self._touched = kept
        return True

    def close(self) -> None:
        """Give it up; who reads it keeps what is there."""
        self._memory.close()
        os.close(self._file)

    def _take(self, room: int) -> int | None:
        """The lowest free place that is large enough."""
        for index, (at, free) in enumerate(self._free):
            if free >= room:
                if free == room:
                    del self._free[index]
                else:
                    self._free[index] = at + room, free - room
                return at
        return None


class Borrowed(NamedTuple):
    """Bytes in a neighbour's arena, where they lie."""

    view: memoryview
    arena: mmap.mmap
    at: int
    number: int

    def is_intact(self) -> bool:
        """Whether nothing else can have been there until now: what was made of them is right."""
        found: int = _NUMBER.unpack_from(self.arena, self.at)[0]
        return found == self.number


@dataclass(frozen=True, slots=True)
class _Mapping:
    memory: mmap.mmap
    link: str
    inode: int

    def owner_lives(self) -> bool:
        try:
            return os.stat(self.link).st_ino == self.inode  # noqa: PTH116
        except OSError:
            return False


class ArenaReader:
    """Reads what neighbours have lent. An arena stays mapped while its owner lives."""

    def __init__(self) -> None:
        self._mappings: dict[bytes, _Mapping] = {}

    def __repr__(self) -> str:
        return f"ArenaReader({len(self._mappings)} arenas)"

    def read(self, handle: bytes) -> bytes:
        """A copy of the bytes that *handle* stands for.

        Raises:
            OutOfReach: as `borrow`.
        """
        borrowed = self.borrow(handle)
        payload = bytes(borrowed.view)
        if not borrowed.is_intact():
            raise OutOfReach(_TAKEN_BACK)
        return payload

    def borrow(self, handle: bytes) -> Borrowed:
        """The bytes that *handle* stands for, which may change as soon as nobody needs them.

        Raises:
            OutOfReach: their owner is not a neighbour or has ended, or has taken them back.
        """
        try:
            token, *numbers = handle.removeprefix(_MARK).split(b" ")
            process, file, at, size, number = map(int, numbers)
        except ValueError as error:
            raise OutOfReach(f"a handle of {len(handle)} bytes says nothing") from error
        mapping = self._mappings.get(token)
        if mapping is None:
            self._forget_the_dead()
            mapping = self._mappings[token] = _opened(process, file, token)
        start = at + _NUMBER.size
        memory = mapping.memory
        if at < _PAGE or size < 0 or start + size > len(memory):
            raise OutOfReach("the handle points beyond its arena")
        borrowed = Borrowed(memoryview(memory)[start : start + size], memory, at, number)
        if not borrowed.is_intact():
            raise OutOfReach(_TAKEN_BACK)
        return borrowed

    def _forget_the_dead(self) -> None:
        # Each is unmapped with the last view of it.
        self._mappings = {token: one for token, one in self._mappings.items() if one.owner_lives()}


def _opened(process: int, file: int, token: bytes) -> _Mapping:
    """The arena that *process* has open as *file*; *token* in hexadecimal."""
    link = f"/proc/{process}/fd/{file}"
    try:
        # Looked at first: opening whatever else has that number could block, or do harm.
        if not os.readlink(link).startswith(f"/memfd:{_NAME}"):  # noqa: PTH115
            raise OutOfReach(f"process {process} has no arena")
        reading = os.open(link, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise OutOfReach(f"the arena of process {process} cannot be opened: {error}") from error
    try:
        memory = mmap.mmap(reading, 0, access=mmap.ACCESS_READ)
        inode = os.fstat(reading).st_ino
    finally:
        os.close(reading)
    if memory[:_TOKEN_BYTES].hex().encode() != token:
        memory.close()
        raise OutOfReach(f"process {process} has another arena by now")
    return _Mapping(memory, link, inode)
