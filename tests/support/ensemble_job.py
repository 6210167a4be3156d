"""One job of an ensemble on its way from model to model, on a real store."""

import itertools

from support.probe import LONG_MS

from penstock.errors import Code
from penstock.models.config.policies import QueueLimits
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.handoff import Destination, Step
from penstock.scheduler.jobs.types import ClaimTerms, Held, Move, NewJob, Outcome, Timing
from penstock.scheduler.observe.counters import statistics_of
from penstock.scheduler.replies.reader import replies_of
from penstock.scheduler.store.keys import partition_keys, partition_of

PARTITIONS = 16


ENDS = ("success_count", "fail_count", "expired", "cancelled", "dead")


def apart(count):
    """Names of models in partitions of their own."""
    found = {}
    for name in (f"m{n}" for n in itertools.count()):
        found.setdefault(partition_of(name, PARTITIONS), name)
        if len(found) == count:
            return list(found.values())
    raise AssertionError


TIMING = Timing(1, 20, 300)


UNLIMITED = QueueLimits()


class Way:
    """Some models, and a job of ensemble e that goes from one to the next."""

    def __init__(self, links, queue, models):
        self.links, self.queue = links, queue
        self.refs = [StageRef(model, 1, 0, "g") for model in models]
        self._nonces = itertools.count()

    async def enqueue(self, id_="job", **fields):
        first, *later = self.refs
        facts = {"priority": 0, "rows": 2, "ttl_ms": LONG_MS, "begin_within_ms": 0}
        facts |= {"payload": b"input", "ensemble": "e:1", "later": tuple(later)} | fields
        return await self.queue.enqueue(NewJob(id_, "gateway", first, **facts), QueueLimits())

    async def claim(self, at):
        terms = ClaimTerms(rows=8, lease_ms=LONG_MS)
        nonce = f"{next(self._nonces)}"
        return (await self.queue.claim_now(self.refs[at], f"worker-{at}", nonce, terms)).leases

    async def lease(self, at):
        (lease,) = await self.claim(at)
        return lease

    def forward(self, lease, at, payload=b"between", *, limits=UNLIMITED, priority=0, within_ms=0):
        to = Destination(self.refs[at + 1], limits)
        step = Step(self.refs[at], to, lease.rows, TIMING)
        move = Move(lease.id, 2, priority, within_ms, payload)
        return self.queue.steps.forward(lease.token, step, [move])

    async def moved(self, at, payload=b"between", **fields):
        """Bring the job that waits at a step to the next one."""
        assert await self.forward(await self.lease(at), at, payload, **fields) == [Held.FINE]

    async def settle(self, lease, at):
        outcome = Outcome(lease.id, Code.OK, "", lease.payload + b"!")
        return await self.queue.settle(lease.token, self.refs[at], 2, TIMING, [outcome])

    async def replies(self):
        found = []
        for partition in range(self.queue.partitions):
            keys = partition_keys(partition)
            key = keys.replies + "gateway"
            for _, fields in await self.links.to(keys.tag).command("XRANGE", key, "-", "+"):
                found += [(r.job, r.code, r.message, r.body) for r in replies_of(fields)]
        return found

    async def state(self, id_="job"):
        first, *later = (ref.model for ref in self.refs)
        return await self.queue.state(first, id_, *later)

    async def cancel(self, id_="job"):
        first, *later = (ref.model for ref in self.refs)
        await self.queue.cancel(first, id_, *later)

    async def counters(self, model):
        return await statistics_of(self.queue, model, 1, ensemble=model == "e")

    async def conserved(self):
        """What was accepted has ended, for the ensemble and each model."""
        for model in {"e", *(ref.model for ref in self.refs)}:
            found = await self.counters(model)
            ended = sum(found.get(name, 0) for name in ENDS)
            assert found.get("accepted", 0) == ended, (model, found)

    async def score(self, at, id_):
        """Its place in the order of a step's queue; None when it does not wait there."""
        keys = self.queue.keys_of(self.refs[at].model)
        return await self.links.to(keys.tag).command(
            "ZSCORE", keys.ready + self.refs[at].queue, id_
        )

    async def places(self, id_="job"):
        """The sets of all partitions that hold the job."""
        held = []
        for partition in range(self.queue.partitions):
            keys = partition_keys(partition)
            link = self.links.to(keys.tag)
            names = [keys.lease, keys.delay, keys.moving]
            names += [keys.ready + ref.queue for ref in dict.fromkeys(self.refs)]
            kinds = {name: name.rpartition("}:")[2].partition(":")[0] for name in names}
            scores = {name: await link.command("ZSCORE", name, id_) for name in names}
            held += [kinds[name] for name, score in scores.items() if score is not None]
        return held
