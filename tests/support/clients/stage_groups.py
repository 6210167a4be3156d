"""A version's stages as a group in this process, over real hops: each later one has its server."""

import asyncio
import contextlib
import itertools
from concurrent.futures import ThreadPoolExecutor

from support.language.devices import CPU
from support.waiting import until

from penstock.language.manifest import read_manifest
from penstock.workers.language.head import Head
from penstock.workers.language.later import LaterStage
from penstock.workers.language.stage import Stage
from penstock.workers.language.structured import Structured
from penstock.workers.liveness.renewal import Renewal
from penstock.workers.serve.language.dialer import Dialer
from penstock.workers.serve.language.group import Group
from penstock.workers.serve.language.hops import HopPlace, Membership
from penstock.workers.serve.language.stage_server import StageServer

_STARTS = itertools.count()


class Stages:
    """The stages of the version in *directory*; later ones listen while they are `served`.

    Attributes:
        streams: makes what reaches other machines; each stage is on one of its own then.
    """

    def __init__(self, directory, slots, capacity, streams=None):
        self.streams = streams
        self._places = {}
        manifest = read_manifest(directory)
        self.count = len(manifest.stages)
        self._structured = Structured(directory, manifest)
        self._slots = slots
        room = slots, capacity
        self._stages = [
            Stage.open(directory, manifest, number, room, CPU) for number in range(self.count)
        ]
        self._numbers = itertools.count()

    @contextlib.asynccontextmanager
    async def served(self, number):
        """A later stage's server, and its boot id."""
        boot_id = f"test-{id(self):x}-{next(_STARTS)}"
        structured = self._structured if number == self.count - 1 else None
        later = LaterStage(self._stages[number], self._slots, structured)
        renewal = Renewal("m", 2000, run_limit_s=600)
        with ThreadPoolExecutor(1) as device:
            streams = self.streams and self.streams()
            server = StageServer(later, boot_id, device, renewal, Dialer(boot_id, streams))
            async with contextlib.AsyncExitStack() as stack:
                if streams:
                    address = await stack.enter_async_context(streams.listening(server.caller))
                    self._places[boot_id] = HopPlace(boot_id, address)
                    stack.push_async_callback(_end, asyncio.create_task(streams.run()))
                await stack.enter_async_context(server.open())
                yield server, boot_id

    @contextlib.asynccontextmanager
    async def all_served(self):
        """The boot ids of all stages."""
        async with contextlib.AsyncExitStack() as stack:
            later = [
                await stack.enter_async_context(self.served(number))
                for number in range(1, self.count)
            ]
            yield ["head", *(boot_id for _, boot_id in later)]

    def group(self, boot_ids, silence_s=30.0):
        """A group of these that is not formed yet."""
        membership = Membership(tuple(boot_ids), next(self._numbers))
        if self.streams is None:
            return Group(membership, silence_s, Dialer(""))
        nowhere = HopPlace("nowhere", "")
        places = [self._places.get(boot_id, nowhere) for boot_id in boot_ids]
        return Group(membership, silence_s, Dialer("head", self.streams()), places)

    def head(self, group):
        """Its head, once it is formed."""
        return Head(self._stages[0], self._slots, group)


async def _end(task):
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def in_thread(call, *arguments):
    """What *call* returns in a thread, as the device's calls are."""
    return await asyncio.get_running_loop().run_in_executor(None, call, *arguments)


async def formed(stages, boot_ids):
    """A group of these, as soon as they are free."""

    async def form():
        group = stages.group(boot_ids)
        return None if await group.form() else group

    return await until(form)


def die(server):
    """What others see when the worker of a stage dies: all of its hops end."""
    for caller in list(server._callers):
        caller.hang_up()
