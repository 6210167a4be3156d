"""A worker that does nothing but say what it does: the queue's own calls, and a history.

As a program it is forked for contenders: each claims jobs of one stage from the store at URL, holds
each batch for a while as if it computed, renewing its leases, and settles or advances it. Its token
is the reply: a job's reply tells who had it in which stage. Some batches it gives back or lets
fail, as its seed wills.
"""

import argparse
import asyncio
import os
import random
import socket
from itertools import count

from chaos.engine.history import INVOKE, OK, Recorder

from penstock.errors import Code, PenstockError
from penstock.models.refs import StageRef
from penstock.process.command_line import show
from penstock.process.forking import template
from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.jobs.types import ClaimTerms, Held, Outcome, Timing
from penstock.scheduler.store.link import Links

MODEL = "digits"
REFS = [StageRef(MODEL, 1, 0), StageRef(MODEL, 1, 1)]
_ROWS = 8


class Contender:
    """One worker of one stage."""

    def __init__(self, links, queue, recorder, options):
        self._queue = queue
        self._link = links.blocking(queue.keys_of(MODEL).tag)
        self._recorder = recorder
        self._options = options
        self._ref = REFS[options.stage]
        self._chance = random.Random(options.seed)  # noqa: S311

    async def run(self):
        """Work for ever."""
        self._recorder.write("ready", self._recorder.process, OK)
        for nonce in count():
            leases = await self._claimed(f"{nonce:x}")
            if not leases:
                continue
            token = leases[0].token
            lost = await self._computed(leases)
            if self._chance.random() < self._options.give_back:
                ids = [lease.id for lease in leases]
                await self._tried(self._queue.give_back, MODEL, token, ids)
                continue
            await self._ended(token, [lease for lease in leases if lease.id not in lost])

    async def _claimed(self, nonce):
        terms = ClaimTerms(rows=_ROWS, lease_ms=self._options.lease_ms)
        asked_s = asyncio.get_running_loop().time()
        while True:
            try:
                claim = await self._queue.claim(
                    self._ref, self._recorder.process, nonce, terms, self._link
                )
            except PenstockError:
                # The same nonce again: it may have been made.
                await asyncio.sleep(0.05)
                continue
            for lease in claim.leases:
                facts = {"token": lease.token, "attempts": lease.attempts, "asked_s": asked_s}
                self._recorder.write("claim", lease.id, OK, **facts)
            return claim.leases

    async def _computed(self, leases):
        """Take some time, renewing; the ids that were found lost meanwhile are left alone."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._chance.uniform(0, 2 * self._options.work_s)
        pairs = [(lease.id, lease.token) for lease in leases]
        lost = set()
        while (left_s := until_s - loop.time()) > 0:
            await asyncio.sleep(min(left_s, self._options.lease_ms / 3000))
            try:
                answers = await self._queue.renew(MODEL, pairs, self._options.lease_ms)
            except PenstockError:
                continue
            lost |= {id_ for (id_, _), held in zip(pairs, answers, strict=True) if not held}
        # Half of the time it writes although it knows better: the store must hold the line.
        return lost if self._chance.random() < 0.5 else set()

    async def _ended(self, token, leases):
        if not leases:
            return
        path = {lease.id: self._path(lease, token) for lease in leases}
        last = self._options.stage == len(REFS) - 1
        operation = "settle" if last else "advance"
        for id_ in path:
            self._recorder.write(operation, id_, INVOKE, token=token)
        if last:
            outcomes = [Outcome(id_, Code.OK, "", body) for id_, body in path.items()]
            words = (self._ref, len(leases), Timing(), outcomes)
            answers = await self._tried(self._queue.settle, token, *words)
        else:
            words = (REFS[self._options.stage + 1], Timing(), list(path.items()))
            answers = await self._tried(self._queue.advance, token, *words)
        for id_, held in zip(path, answers, strict=True):
            self._recorder.write(operation, id_, OK, token=token, held=Held(held).name)

    def _path(self, lease, token):
        before = lease.payload if self._options.stage else b""
        return b" ".join(filter(None, [before, token.encode()]))

    async def _tried(self, call, *words):
        while True:
            try:
                return await call(*words)
            except PenstockError:
                await asyncio.sleep(0.05)


async def main(options):
    recorder = Recorder(options.history, options.boot_id)
    async with Links(options.url, patience_s=20) as links:
        await Contender(links, await open_queue(links), recorder, options).run()


def forked():
    """Be forked for each contender; the words of the one that this is, in each of them."""
    order = template.serve(socket.socket(fileno=int(os.environ.pop(template.CHANNEL))))
    show(order.words)
    return order.words[2:]


def parsed(words):
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--history", required=True)
    parser.add_argument("--boot-id", required=True)
    parser.add_argument("--stage", type=int, required=True)
    parser.add_argument("--lease-ms", type=int, required=True)
    parser.add_argument("--work-s", type=float, required=True)
    parser.add_argument("--give-back", type=float, default=0.0)
    parser.add_argument("--seed", type=int, required=True)
    return parser.parse_args(words)


if __name__ == "__main__":
    asyncio.run(main(parsed(forked())))
