"""A group of stages in this process: head, later stages and messages are those of workers.

Only the way between them is a list here.
"""

import itertools
from collections import deque

from support.language.devices import CPU

from penstock.language.manifest import read_manifest
from penstock.workers.language.head import GroupBroken, Head
from penstock.workers.language.later import LaterStage
from penstock.workers.language.message import (
    Message,
    Said,
    epoch_of,
    message_in,
    packed_message,
    packed_tokens,
    tokens_in,
)
from penstock.workers.language.pipeline import Pipeline
from penstock.workers.language.stage import Stage
from penstock.workers.language.structured import Structured

SLOTS, CAPACITY = 4, 64


class Wires:
    """The way to later stages: what goes over it are bytes.

    Attributes:
        sent: all that has come to the first of them.
    """

    def __init__(self, later):
        self._later = later
        self._said = deque()
        self.epoch = b""
        self.sent = []

    def form(self, number):
        """A new group of the same stages."""
        self.epoch = epoch_of(["a", "b"], number)
        for stage in self._later:
            stage.begin(self.epoch)
        self._said.clear()
        return self

    def send(self, message):
        self.sent.append(b"".join(packed_message(message)))
        self.deliver(self.sent[-1])

    def deliver(self, content):
        """What the stages do with it; from the first one on that is not the one it is for."""
        epoch, step, *_ = message_in(content)
        for stage in self._later:
            made = stage.run(message_in(content))
            if not isinstance(made, Message):
                break
            content = b"".join(packed_message(made))
        if made is not None:
            self._said.append(b"".join(packed_tokens(Said(epoch, step, made))))

    def receive(self):
        if not self._said:
            raise GroupBroken("nothing comes any more")
        return tokens_in(self._said.popleft())


class Group:
    """A version's stages as a group; each `model` of it is one life."""

    def __init__(self, directory):
        manifest = read_manifest(directory)
        count = len(manifest.stages)
        stages = [
            Stage.open(directory, manifest, number, (SLOTS, CAPACITY), CPU)
            for number in range(count)
        ]
        self._first = stages[0]
        self._numbers = itertools.count()
        structured = Structured(directory, manifest)
        ends = [*itertools.repeat(None, count - 1), structured]
        later = zip(stages[1:], ends[1:], strict=True)
        self.wires = Wires([LaterStage(stage, SLOTS, end) for stage, end in later])
        self._alone = Pipeline(manifest, stages, SLOTS, structured) if count == 1 else None

    def model(self):
        hops = self.wires.form(next(self._numbers))
        return self._alone or Head(self._first, SLOTS, hops)
