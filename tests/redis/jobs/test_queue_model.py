"""The queue does what a model of it in plain Python does, in whatever order things happen."""

import asyncio
from collections import Counter
from operator import itemgetter

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.probe import (
    FIRST,
    LONG_MS,
    SECOND,
    UNLIMITED,
    Probe,
    entries_in,
    job,
    jobs_in,
    lives_ms,
)
from support.queue_model import FULL, ModelJob, QueueModel

from penstock.errors import Code, QueueFull
from penstock.models.config.policies import QueueLimits
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.queue import open_queue
from penstock.scheduler.jobs.types import Chunk, Outcome, Reaped, Timing
from penstock.scheduler.observe.counters import counters_of
from penstock.scheduler.replies.chunks import Chunks
from penstock.scheduler.replies.reader import ReplyReader, replies_of
from penstock.scheduler.store.link import Links

NIGHTLY = settings.get_current_profile_name() == "nightly"
SIZE = settings() if NIGHTLY else settings(max_examples=200, stateful_step_count=30)

WORKERS = ["worker-0", "worker-1"]
GATEWAYS = ["gateway-0", "gateway-1", "gateway-2"]
STAGES = [FIRST, SECOND]
QUEUES = [FIRST.queue, SECOND.queue]
LIMITS = [UNLIMITED, UNLIMITED, QueueLimits(jobs=3), QueueLimits(payload_bytes=80)]
# Deadlines are so far apart that the time which a test takes does not change their order.
APART_MS = 100_000
OUTAGE_MS = 12_000
LASTING = {
    "lease",
    "deadline",
    "delay",
    "volume",
    "stats:digits:1",
    "dead",
    "events",
    "gateways",
    "grace",
}

# Which of the known jobs, or tokens, counted from the latest.
places = st.integers(0, 7)
seldom = st.sampled_from([False, False, False, True])
wanted = st.fixed_dictionaries(
    {
        "again": st.sampled_from([None, None, None, 0, 1, 2, 5]),
        "priority": st.integers(0, 2),
        "rows": st.integers(1, 4),
        "urgency": st.integers(0, 9),
        "size": st.integers(0, 40),
    }
)


# Whether an old token is taken, which, how much of what it holds, and which jobs besides.
chosen = st.tuples(
    seldom,
    places,
    st.sampled_from([9, 9, 1]),
    st.lists(places, max_size=2),
)


def latest(known, place):
    """The one at *place* from the end, from which counting begins anew at the beginning."""
    return known[-1 - place % len(known)]


def as_ref(queue):
    """A queue of one worker is, for now, a stage with a longer name."""
    model, version, stage = queue.split(":")
    return StageRef(model, int(version), stage)


class QueueMachine(RuleBasedStateMachine):
    """Does each thing to the queue and to the model, and compares answers and states."""

    def __init__(self, url):
        super().__init__()
        self._runner = asyncio.Runner()
        self._look = redis.Redis(unix_socket_path=url.removeprefix("unix://"))
        self._look.flushall()
        self._links = self._run(Links(url).__aenter__())
        self._queue = self._run(open_queue(self._links))
        self._probe = self._run(self._probed())
        self._keys = self._probe.keys
        self._model = QueueModel()
        self._ids = []
        self._tokens = []
        self._nonces = Counter()

    async def _probed(self):
        return Probe(self._links, self._queue)

    def _run(self, awaitable):
        async def awaited():
            return await awaitable

        return self._runner.run(awaited())

    def teardown(self):
        self._run(self._links.__aexit__(None, None, None))
        self._runner.close()
        self._look.close()

    # things that happen

    @initialize(wants=st.lists(wanted, min_size=4, max_size=6))
    def begin(self, wants):
        for gateway in GATEWAYS:
            self._run(self._reader(gateway).heartbeat())
        self.enqueue(FIRST.queue, GATEWAYS[0], UNLIMITED, wants)
        for worker in WORKERS:
            self.claim(worker, FIRST, 4, idle=True, again=False)

    @rule(
        queue=st.sampled_from(QUEUES),
        gateway=st.sampled_from(GATEWAYS),
        limits=st.sampled_from(LIMITS),
        wants=st.lists(wanted, min_size=1, max_size=3),
    )
    def enqueue(self, queue, gateway, limits, wants):
        ours, models = [], []
        for want in wants:
            id_ = f"job-{len(self._ids)}"
            if want["again"] is not None and self._ids:
                id_ = latest(self._ids, want["again"])
            self._ids.append(id_)
            facts = {
                "gateway": gateway,
                "priority": want["priority"],
                "rows": want["rows"],
                "ttl_ms": LONG_MS + APART_MS * (want["urgency"] * 1000 + len(self._ids)),
                "payload": b"x" * want["size"],
            }
            ours.append(job(id_, ref=as_ref(queue), **facts))
            limited = limits.payload_bytes > 0
            models.append(ModelJob(id_, queue=queue, limited=limited, **facts))

        answers = self._run(self._probe.offer(*ours, limits=limits))

        told = [FULL if isinstance(answer, QueueFull) else answer for answer in answers]
        assert told == self._model.enqueue(models, limits)

    @precondition(lambda self: self._model.in_state("waiting") or self._tokens)
    @rule(
        worker=st.sampled_from(WORKERS),
        ref=st.sampled_from(STAGES),
        rows=st.integers(1, 8),
        idle=st.booleans(),
        again=seldom,
    )
    def claim(self, worker, ref, rows, *, idle, again):
        if not again or not self._nonces[worker]:
            self._nonces[worker] += 1
        nonce = str(self._nonces[worker])
        token = f"{worker}.{nonce}"

        claim = self._run(self._probe.claim(worker, nonce, ref=ref, rows=rows, idle=idle))

        ids, does_not_fit = self._model.claim(ref.queue, worker, token, rows, idle=idle)
        assert ([lease.id for lease in claim.leases], claim.does_not_fit) == (ids, does_not_fit)
        for lease in claim.leases:
            modelled = self._model.jobs[lease.id]
            assert (lease.token, lease.payload) == (token, modelled.payload)
            assert (lease.rows, lease.attempts) == (modelled.rows, modelled.attempts)
            assert (lease.alone, lease.gateway) == (modelled.alone, modelled.gateway)
        if ids:
            self._tokens.append(token)

    @precondition(lambda self: self._tokens)
    @rule(chosen=chosen)
    def renew(self, chosen):
        token, ids = self._held(chosen)
        pairs = [(id_, token) for id_ in ids]
        answer = self._run(self._queue.renew(FIRST.model, pairs, LONG_MS))

        assert answer == self._model.renew(token, ids)

    @precondition(lambda self: self._tokens)
    @rule(chosen=chosen, code=st.sampled_from([Code.OK, Code.OK, Code.INTERNAL]))
    def settle(self, chosen, code):
        token, ids = self._held(chosen)
        codes = dict.fromkeys(ids, Code.OK) | dict.fromkeys(ids[:1], code)
        outcomes = [Outcome(id_, code, "", b"reply") for id_, code in codes.items()]
        answer = self._run(self._queue.settle(token, FIRST, 1, Timing(), outcomes))

        assert answer == self._model.settle(token, codes)

    @precondition(lambda self: self._tokens)
    @rule(chosen=chosen, queue=st.sampled_from(QUEUES))
    def advance(self, chosen, queue):
        token, ids = self._held(chosen)
        moves = [(id_, b"activations of " + id_.encode()) for id_ in ids]
        answer = self._run(self._queue.advance(token, as_ref(queue), Timing(), moves))

        assert answer == self._model.advance(token, queue, ids)

    @precondition(lambda self: self._tokens)
    @rule(chosen=chosen)
    def give_back(self, chosen):
        token, ids = self._held(chosen)
        answer = self._run(self._queue.give_back(FIRST.model, token, ids))

        assert answer == self._model.give_back(token, ids)

    @precondition(lambda self: self._tokens)
    @rule(chosen=chosen, delayed=st.booleans(), most=st.integers(1, 3))
    def retry(self, chosen, delayed, most):
        token, ids = self._held(chosen)
        delay_ms = LONG_MS if delayed else 0
        answer = self._run(
            self._queue.retry(FIRST.model, token, ids, delay_ms=delay_ms, most=most, why="broken")
        )

        assert answer == self._model.retry(token, ids, delayed=delayed, most=most)

    @precondition(lambda self: self._tokens)
    @rule(chosen=chosen, step=st.sampled_from([1, 1, 1, 0, -1, 2]), other=seldom)
    def add_part(self, chosen, step, other):
        token, ids = self._held(chosen)
        for id_ in ids:
            modelled = self._model.jobs.get(id_)
            index = max(1, len(modelled.parts if modelled else []) + step)
            digest = b"other" if other else b"digest"
            part = Chunk(id_, index, digest, b"part")
            answer = self._run(Chunks(self._queue).add(FIRST, token, part, Timing()))

            assert answer == self._model.add_part(token, id_, index, digest)

    @precondition(lambda self: self._ids)
    @rule(place=places)
    def cancel(self, place):
        id_ = latest(self._ids, place)
        self._run(self._queue.cancel(FIRST.model, id_))
        self._model.cancel(id_)

    @precondition(lambda self: self._model.in_state("leased"))
    @rule(place=places)
    def crash(self, place):
        """Of a worker that has something to lose."""
        token = latest([token for token in self._tokens if self._model.held(token)], place)
        worker = token.partition(".")[0]
        reaped = self._run(self._queue.release_leases_of(FIRST.model, worker))

        requeued, dead = self._model.release_leases_of(worker)
        assert reaped == Reaped(requeued, dead, 0, 0, 0)

    @precondition(lambda self: self._model.in_state("leased"))
    @rule()
    def outage(self):
        """Nothing could be renewed meanwhile; then all of it is."""
        self._run(self._queue.reap(0))
        for id_ in self._model.in_state("leased"):
            self._look.zadd(self._keys.lease, {id_: 1}, xx=True)
        self._look.hincrby(self._keys.grace, "reaped", -OUTAGE_MS)

        assert self._run(self._queue.reap(0)) == Reaped(0, 0, 0, 0, 0)
        for token in filter(self._model.held, dict.fromkeys(self._tokens)):
            ids = self._model.held(token)
            pairs = [(id_, token) for id_ in ids]
            answers = self._run(self._queue.renew(FIRST.model, pairs, LONG_MS))
            assert answers == self._model.renew(token, ids)

    @precondition(lambda self: len(self._ids) % 4 == 3)
    @rule(gateway=st.sampled_from(GATEWAYS))
    def leave(self, gateway):
        self._run(self._reader(gateway).heartbeat(leave=True))
        reaped = self._run(self._queue.reap(0))
        self._run(self._reader(gateway).heartbeat())

        assert reaped == Reaped(0, 0, 0, 0, self._model.leave(gateway))

    def _held(self, chosen):
        """A token, a good one rather than an old one; what it is good for, and perhaps more."""
        old, place, part, more = chosen
        good = [token for token in self._tokens if self._model.held(token)]
        token = latest(self._tokens if old or not good else good, place)
        leased = sorted(self._model.in_state("leased"))
        others = [latest(leased if other % 2 and leased else self._ids, other) for other in more]
        return token, list(dict.fromkeys([*self._model.held(token)[:part], *others]))

    def _reader(self, gateway):
        return ReplyReader(self._links, 1, gateway, print)

    # what must be so after each of them

    @invariant()
    def each_job_is_as_modelled(self):
        ids = sorted(set(self._ids))
        found = jobs_in(self._look, self._keys, ids)
        for id_, (*values, ended) in zip(ids, found, strict=True):
            modelled = self._model.jobs.get(id_)
            if modelled is None:
                assert not any(values)
                expected = self._model.ended.get(id_)
                assert ended == (None if expected is None else " ".join(expected).encode())
                continue
            assert ended is None
            state, token, attempts, crashes, alone, cancelled, queue, payload = values
            assert (state.decode(), (token or b"").decode()) == (modelled.state, modelled.token)
            assert int(attempts or 0) == modelled.attempts
            assert int(crashes or 0) == modelled.crashes
            assert (alone == b"1") == modelled.alone
            assert (cancelled == b"1") == modelled.cancelled
            assert (queue.decode(), payload) == (modelled.queue, modelled.payload)

    @invariant()
    def each_job_is_in_its_place_and_in_no_other(self):
        with self._look.pipeline(transaction=False) as pipe:
            for queue in QUEUES:
                pipe.zrange(self._keys.ready + queue, 0, -1)
            for key in (self._keys.lease, self._keys.delay, self._keys.deadline):
                pipe.zrange(key, 0, -1)
            found = [[member.decode() for member in members] for members in pipe.execute()]
        *ready, leased, delayed, live = found
        assert ready == [self._model.waiting(queue) for queue in QUEUES]
        assert set(leased) == self._model.in_state("leased")
        assert set(delayed) == self._model.in_state("delayed")
        assert set(live) == set(self._model.jobs)
        assert len(live) == sum(map(len, ready)) + len(leased) + len(delayed)

    @invariant()
    def everything_is_counted(self):
        key = f"{self._keys.stats}{FIRST.model}:{FIRST.version}"
        counted = counters_of(self._look.hgetall(key))
        names = {"succeeded": "success_count", "failed": "fail_count"}
        for name in ("accepted", "succeeded", "failed", "cancelled", "dead", "requeued"):
            assert counted.get(names.get(name, name), 0) == self._model.counts[name], name
        ends = ("success_count", "fail_count", "cancelled", "expired", "dead")
        final = sum(counted.get(name, 0) for name in ends)
        assert counted.get("accepted", 0) == final + len(self._model.jobs)
        live_bytes = self._look.hget(self._keys.live_bytes, f"{FIRST.model}:{FIRST.version}")
        assert int(live_bytes or 0) == self._model.live_bytes()

    @invariant()
    def each_reply_is_there_once(self):
        streams = entries_in(self._look, [self._keys.replies + gateway for gateway in GATEWAYS])
        for gateway, entries in zip(GATEWAYS, streams, strict=True):
            found, modelled = [], self._model.replies[gateway]
            for _, fields in entries:
                if fields[0] == b"chunk":
                    found.append((fields[1].decode(), int(fields[3])))
                else:
                    found += [(r.job, r.code) for r in replies_of(fields)]
            assert Counter(found) == Counter(modelled)
            # Those of one job in order: its parts, and then its end.
            assert sorted(found, key=itemgetter(0)) == sorted(modelled, key=itemgetter(0))

    @invariant()
    def each_key_has_a_life_time_or_an_owner(self):
        start = self._keys.jobs.removesuffix("job:")
        for name, life_ms in lives_ms(self._look, f"{start}*").items():
            kind = name.removeprefix(start)
            assert life_ms > 0 or kind in LASTING or kind.startswith("ready:"), name


# It takes hundreds of examples: on a busy machine, minutes.
@pytest.mark.timeout(7200 if NIGHTLY else 900)
def test_the_queue_is_its_model(redis_url):
    run_state_machine_as_test(lambda: QueueMachine(redis_url), settings=SIZE)
