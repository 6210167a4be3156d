"""Messages between the stages of a group: one for each batch and hop, as bytes.

All numbers are little-endian. A message has a head, the positions of its rows, what becomes of
slots before it is computed, and its columns: hidden states.
"""

import hashlib
import json
import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from penstock.errors import InvalidRequest, PenstockError
from penstock.language.payload import options_from_json, options_to_json
from penstock.workers.language.answer import Answer
from penstock.workers.language.batch import Batch
from penstock.workers.language.changes import Change, Move, Swap, Take

_HEAD: Final = struct.Struct("<16sQIIIIII")
_CHANGE: Final = struct.Struct("<IIIII")
_SAID: Final = struct.Struct("<16sQ")
_MOVE, _TAKE, _SWAP = 0, 1, 2
_GROWS, _ECHOES = 1, 2
_MOST_OPTIONS_BYTES: Final = 1 << 20


class Unreadable(PenstockError):
    """What came from another stage is no message of this release."""


class Message(NamedTuple):
    """A batch on its way to the next stage.

    Attributes:
        epoch: the group's; see `epoch_of`.
        step: how many messages its head has sent before.
        changes: of slots, in their order, before the batch is computed.
    """

    epoch: bytes
    step: int
    changes: Sequence[Change]
    batch: Batch


class Said(NamedTuple):
    """What the last stage says of the message *step* of an *epoch*.

    Attributes:
        words: of the entries that it brought, those of all answers behind each other.
    """

    epoch: bytes
    step: int
    words: list[int]


def epoch_of(boot_ids: Sequence[str], number: int) -> bytes:
    """What is the same for all messages of a group, and for those of no other.

    Args:
        boot_ids: of the workers of all stages, in order.
        number: how many groups their head has had before: the same workers may come together
            again while something of their last group is on its way yet.
    """
    said = json.dumps([*boot_ids, number]).encode()
    return hashlib.blake2b(said, digest_size=16).digest()


def packed_message(message: Message) -> list[bytes]:
    """The bytes of *message*, in parts."""
    epoch, step, changes, (columns, start, slot, grows, echoes) = message
    rows, length, width = columns.shape
    kind = _GROWS * grows + _ECHOES * echoes
    head = _HEAD.pack(epoch, step, slot, rows, length, width, kind, len(changes))
    parts = [head, start.astype("<i8").tobytes()]
    for change in changes:
        parts += _packed_change(change)
    return [*parts, columns.astype("<f4", copy=False).tobytes()]


def message_in(content: bytes) -> Message:
    """The message that *content* is.

    Raises:
        Unreadable: it is none.
    """
    try:
        epoch, step, slot, rows, length, width, kind, count = _HEAD.unpack_from(content)
        start = np.frombuffer(content, "<i8", rows, _HEAD.size).astype(np.int64)
        reader = _Reader(content, _HEAD.size + start.nbytes)
        changes = list(reader.changes(count))
        if len(content) - reader.at != rows * length * width * 4 or not rows * length * width:
            raise Unreadable("a message of another stage has not the size that it says")
        # Copied: what computes wants numbers at addresses that are multiples of their size.
        hidden = np.frombuffer(content, "<f4", offset=reader.at).astype(np.float32)
    except (struct.error, ValueError, InvalidRequest) as error:
        raise Unreadable("a message of another stage is cut off") from error
    if kind not in (0, _GROWS, _ECHOES) or (kind == _ECHOES and rows != 1):
        raise Unreadable("a message of another stage wants what cannot be")
    columns = hidden.reshape(rows, length, width)
    batch = Batch(columns, start, slot, kind == _GROWS, kind == _ECHOES)
    return Message(epoch, step, changes, batch)


def most_bytes(slots: int, capacity: int, width: int) -> int:
    """More than any message has of a group with so many slots, each of *capacity* tokens."""
    answers = slots * (_MOST_OPTIONS_BYTES + 4 * capacity)
    return answers + 4 * width * max(slots, capacity) + _MOST_OPTIONS_BYTES


def packed_tokens(said: Said) -> list[bytes]:
    """The bytes of what the last stage says, in parts."""
    return [_SAID.pack(said.epoch, said.step), np.asarray(said.words, "<u4").tobytes()]


def tokens_in(content: bytes) -> Said:
    """What the last stage says.

    Raises:
        Unreadable: it says nothing of the kind.
    """
    try:
        epoch, step = _SAID.unpack_from(content)
        return Said(epoch, step, np.frombuffer(content, "<u4", offset=_SAID.size).tolist())
    except (struct.error, ValueError) as error:
        raise Unreadable("tokens of the last stage are cut off") from error


def _packed_change(change: Change) -> list[bytes]:
    if not isinstance(change, Take):
        return [_CHANGE.pack(_MOVE if isinstance(change, Move) else _SWAP, *change, 0)]
    slot, answer = change
    options = options_to_json(answer.options).encode()
    prompt, log = (np.asarray(tokens, "<u4").tobytes() for tokens in (answer.prompt, answer.log))
    return [_CHANGE.pack(_TAKE, slot, len(options), len(prompt), len(log)), options, prompt, log]


class _Reader:
    """Reads on in *content*."""

    def __init__(self, content: bytes, at: int) -> None:
        self._content = content
        self.at = at

    def changes(self, count: int) -> Iterator[Change]:
        """The next *count* changes."""
        for _ in range(count):
            kind, one, two, three, four = _CHANGE.unpack_from(self._content, self.at)
            self.at += _CHANGE.size
            if kind in (_MOVE, _SWAP):
                yield (Move if kind == _MOVE else Swap)(one, two, three)
                continue
            if kind != _TAKE:
                raise Unreadable("a message of another stage changes slots in an unknown way")
            options = options_from_json(self._bytes(two).decode(errors="replace"))
            prompt, log = (np.frombuffer(self._bytes(n), "<u4").tolist() for n in (three, four))
            yield Take(one, Answer(prompt, options, log))

    def _bytes(self, size: int) -> bytes:
        self.at += size
        if self.at > len(self._content):
            raise Unreadable("a message of another stage is cut off")
        return self._content[self.at - size : self.at]
