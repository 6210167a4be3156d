"""A queue as gateways and workers use it, and a look behind it into the store."""

import asyncio
import itertools
from dataclasses import astuple

from support.waiting import until

from penstock.errors import Code
from penstock.models.config.policies import QueueLimits
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.types import ClaimTerms, NewJob, Outcome, Reaped, Timing
from penstock.scheduler.observe.counters import statistics_of
from penstock.scheduler.replies.reader import replies_of, tokens_of

FIRST = StageRef("digits", 1, 0)
SECOND = StageRef("digits", 1, 1)
LONG_MS = 600_000
"""No test takes so long."""

UNLIMITED = QueueLimits()
NO_TIME = Timing()
ENDS = ("success_count", "fail_count", "expired", "cancelled", "dead")


def job(id_, **changes):
    """A job of the first stage that nothing is urgent about."""
    facts = {
        "ref": FIRST,
        "gateway": "gateway-1",
        "priority": 1,
        "rows": 1,
        "ttl_ms": LONG_MS,
        "begin_within_ms": 0,
        "payload": f"input of {id_}".encode(),
    }
    return NewJob(id_, **(facts | changes))


class Probe:
    """One model's queue; calls have the usual case as their defaults."""

    def __init__(self, links, queue):
        self.links = links
        self.queue = queue
        self.keys = queue.keys_of(FIRST.model)
        self._nonces = itertools.count()

    # what gateways and workers do

    async def enqueue(self, *ids, limits=UNLIMITED, **changes):
        """Enqueue jobs in one call; what each was answered."""
        jobs = [job(id_, **changes) for id_ in ids]
        return await asyncio.gather(*(self.queue.enqueue(one, limits) for one in jobs))

    async def offer(self, *jobs, limits):
        """As `enqueue`, for jobs that may be refused: errors are answers, too."""
        calls = (self.queue.enqueue(one, limits) for one in jobs)
        return await asyncio.gather(*calls, return_exceptions=True)

    async def claim(self, worker="worker-1", nonce=None, ref=FIRST, **terms):
        """Claim without sleeping; a nonce of its own unless one is given."""
        nonce = f"{next(self._nonces)}" if nonce is None else nonce
        wanted = ClaimTerms(**({"rows": 8, "lease_ms": LONG_MS} | terms))
        return await self.queue.claim_now(ref, worker, nonce, wanted)

    async def lease(self, worker="worker-1", **terms):
        """Claim exactly one job."""
        claim = await self.claim(worker, **terms)
        (lease,) = claim.leases
        return lease

    async def settle(self, *leases, code=Code.OK, rows=None, timing=NO_TIME, ref=FIRST):
        """End leased jobs of one claim, all in the same way."""
        outcomes = [
            Outcome(one.id, code, "" if code is Code.OK else "failed", one.payload + b"!")
            for one in leases
        ]
        rows = sum(one.rows for one in leases) if rows is None else rows
        return await self.queue.settle(leases[0].token, ref, rows, timing, outcomes)

    async def advance(self, *leases, to=SECOND):
        moves = [(one.id, b"activations of " + one.id.encode()) for one in leases]
        return await self.queue.advance(leases[0].token, to, NO_TIME, moves)

    async def reaped(self, enough, **options):
        """Reap until *enough* says so of the sum of everything that was reaped."""
        sums = [0] * 5

        async def once_more():
            reaped = await self.queue.reap(0, **options)
            sums[:] = [old + new for old, new in zip(sums, astuple(reaped), strict=True)]
            return enough(Reaped(*sums))

        await until(once_more)
        return Reaped(*sums)

    # what the store holds

    async def command(self, *words):
        return await self.links.to(self.keys.tag).command(*words)

    async def record(self, id_):
        """The fields of a job, as text; empty when it is gone."""
        flat = [part.decode() for part in await self.command("HGETALL", self.keys.jobs + id_)]
        return dict(zip(flat[::2], flat[1::2], strict=True))

    async def members(self, key):
        return [member.decode() for member in await self.command("ZRANGE", key, 0, -1)]

    async def waiting(self, queue=FIRST.queue):
        """The jobs that wait, most urgent first."""
        return await self.members(self.keys.ready + queue)

    async def replies(self, gateway="gateway-1"):
        """What a gateway has yet to read: (job, code, message, body) for each reply.

        Of a reply in parts, each part is (job, "part", index, body); of an answer, new tokens are
        (job, "tokens", place, tokens).
        """
        entries = await self.command("XRANGE", self.keys.replies + gateway, "-", "+")
        found = []
        for _, fields in entries:
            if fields[0] == b"chunk":
                _, id_, _, index, _, _, _, body = fields
                found.append((id_.decode(), "part", int(index), body))
            elif fields[0] == b"tokens":
                found += [(new.job, "tokens", new.at, new.tokens) for new in tokens_of(fields)]
            else:
                found += [(r.job, r.code, r.message, r.body) for r in replies_of(fields)]
        return found

    async def ends(self):
        """How many jobs of the version ended in which way; the ways that none did are left out."""
        counted = await self.statistics()
        return {name: counted[name] for name in ENDS if counted.get(name)}

    async def statistics(self):
        return await statistics_of(self.queue, FIRST.model, FIRST.version)

    async def names(self, pattern="penstock:*"):
        return {name.decode() for name in await self.command("KEYS", pattern)}

    async def ttl_ms(self, key):
        return await self.command("PTTL", key)


# Looks in one call each: a test that looks after every step pays for calls.
_JOBS = """
local found = {}
for place, id in ipairs(ARGV) do
  found[place] = redis.call('HMGET', KEYS[1] .. id, 'state', 'token', 'attempts', 'crashes',
    'alone', 'cancelled', 'queue', 'payload')
  table.insert(found[place], redis.call('GET', KEYS[2] .. id))
end
return found
"""
_REPLIES = """
local found = {}
for place, stream in ipairs(KEYS) do
  found[place] = redis.call('XRANGE', stream, '-', '+')
end
return found
"""
_LIVES = """
local found = {}
for place, name in ipairs(redis.call('KEYS', ARGV[1])) do
  found[place] = {name, redis.call('PTTL', name)}
end
return found
"""


def jobs_in(redis, keys, ids):
    """Of each: state, token, attempts, crashes, alone, cancelled, queue, payload; how it ended."""
    return redis.eval(_JOBS, 2, keys.jobs, keys.ended, *ids)


def entries_in(redis, streams):
    """All entries of each stream; redis-py would make a dict of each, and lose most of a batch."""
    return redis.eval(_REPLIES, len(streams), *streams)


def lives_ms(redis, pattern):
    """Name -> how long it will live, in ms, of all keys like *pattern*; negative: for ever."""
    return {name.decode(): life_ms for name, life_ms in redis.eval(_LIVES, 0, pattern)}
