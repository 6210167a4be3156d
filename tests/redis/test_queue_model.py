"""The queue does what a model of it in plain Python does, in whatever order things happen."""

import asyncio
from collections import Counter

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from support.probe import FIRST, LONG_MS, SECOND, UNLIMITED, Probe, job
from support.queue_model import FULL, ModelJob, QueueModel

from penstock.errors import Code, QueueFull
from penstock.scheduler.jobs import Outcome, QueueLimits, Timing
from penstock.scheduler.keys import StageRef
from penstock.scheduler.keyspace import open_queue
from penstock.scheduler.link import Links
from penstock.scheduler.replies import ReplyReader, replies_of
from penstock.scheduler.statistics import counters_of

NIGHTLY = settings.get_current_profile_name() == "nightly"
SIZE = settings() if NIGHTLY else settings(max_examples=200, stateful_step_count=30)

IDS = [f"job-{i}" for i in range(6)]
WORKERS = ["worker-0", "worker-1"]
GATEWAYS = ["gateway-0", "gateway-1"]
STAGES = [FIRST, SECOND]
QUEUES = [ref.queue for ref in STAGES] + [ref.pinned(w) for ref in STAGES for w in WORKERS]
LIMITS = [UNLIMITED, QueueLimits(jobs=2), QueueLimits(payload_bytes=60)]
# Deadlines are so far apart that the time which a test takes does not change their order.
APART_MS = 100_000
LASTING = {"lease", "deadline", "delay", "volume", "stats:digits:1", "dead", "events", "gateways"}

some_ids = st.lists(st.sampled_from(IDS), unique=True, max_size=2)
wanted = st.fixed_dictionaries(
    {
        "id_": st.sampled_from(IDS),
        "priority": st.integers(0, 2),
        "rows": st.integers(1, 4),
        "urgency": st.integers(0, 9),
        "size": st.integers(0, 40),
    }
)


def as_ref(queue):
    """A queue of one worker is, for now, a stage with a longer name."""
    model, version, stage = queue.split(":")
    return StageRef(model, int(version), stage)


class QueueMachine(RuleBasedStateMachine):
    """Does each thing to the queue and to the model, and compares answers and states."""

    tokens = Bundle("tokens")

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
        self._made = 0
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

    @initialize()
    def attach(self):
        for gateway in GATEWAYS:
            self._run(self._reader(gateway).attach())

    @rule(
        queue=st.sampled_from(QUEUES),
        gateway=st.sampled_from(GATEWAYS),
        limits=st.sampled_from(LIMITS),
        wants=st.lists(wanted, min_size=1, max_size=3),
    )
    def enqueue(self, queue, gateway, limits, wants):
        ours, models = [], []
        for want in wants:
            self._made += 1
            facts = {
                "gateway": gateway,
                "priority": want["priority"],
                "rows": want["rows"],
                "ttl_ms": LONG_MS + APART_MS * (want["urgency"] * 1000 + self._made),
                "payload": bytes(want["size"]),
            }
            ours.append(job(want["id_"], ref=as_ref(queue), **facts))
            limited = limits.payload_bytes > 0
            models.append(ModelJob(want["id_"], queue=queue, limited=limited, **facts))

        answers = self._run(self._probe.offer(*ours, limits=limits))

        told = [FULL if isinstance(answer, QueueFull) else answer for answer in answers]
        assert told == self._model.enqueue(models, limits)

    @rule(
        target=tokens,
        worker=st.sampled_from(WORKERS),
        ref=st.sampled_from(STAGES),
        rows=st.integers(1, 8),
        idle=st.booleans(),
        again=st.booleans(),
    )
    def claim(self, worker, ref, rows, idle, again):
        if not again or not self._nonces[worker]:
            self._nonces[worker] += 1
        nonce = str(self._nonces[worker])
        token = f"{worker}.{nonce}"

        claim = self._run(self._probe.claim(worker, nonce, ref=ref, rows=rows, idle=idle))

        queues = [ref.pinned(worker), ref.queue]
        ids, unfit = self._model.claim(queues, worker, token, rows, idle=idle)
        assert ([lease.id for lease in claim.leases], claim.unfit) == (ids, unfit)
        for lease in claim.leases:
            modelled = self._model.jobs[lease.id]
            assert (lease.token, lease.payload) == (token, modelled.payload)
            assert (lease.rows, lease.attempts) == (modelled.rows, modelled.attempts)
            assert (lease.alone, lease.gateway) == (modelled.alone, modelled.gateway)
        return token

    @rule(token=tokens, more=some_ids)
    def renew(self, token, more):
        ids = self._ids(token, more)
        pairs = [(id_, token) for id_ in ids]
        answer = self._run(self._queue.renew(FIRST.model, pairs, LONG_MS))

        assert answer == self._model.renew(token, ids)

    @rule(token=tokens, more=some_ids, failing=st.sets(st.sampled_from(IDS)))
    def settle(self, token, more, failing):
        ids = self._ids(token, more)
        codes = {id_: Code.INTERNAL if id_ in failing else Code.OK for id_ in ids}
        outcomes = [Outcome(id_, code, "", b"reply") for id_, code in codes.items()]
        answer = self._run(self._queue.settle(token, FIRST, 1, Timing(), outcomes))

        assert answer == self._model.settle(token, codes)

    @rule(token=tokens, more=some_ids, queue=st.sampled_from(QUEUES))
    def advance(self, token, more, queue):
        ids = self._ids(token, more)
        moves = [(id_, b"activations of " + id_.encode()) for id_ in ids]
        answer = self._run(self._queue.advance(token, as_ref(queue), Timing(), moves))

        assert answer == self._model.advance(token, queue, ids)

    @rule(token=tokens, more=some_ids)
    def give_back(self, token, more):
        ids = self._ids(token, more)
        answer = self._run(self._queue.give_back(FIRST.model, token, ids))

        assert answer == self._model.give_back(token, ids)

    @rule(token=tokens, more=some_ids, delayed=st.booleans(), most=st.integers(1, 3))
    def retry(self, token, more, delayed, most):
        ids = self._ids(token, more)
        delay_ms = LONG_MS if delayed else 0
        answer = self._run(
            self._queue.retry(FIRST.model, token, ids, delay_ms=delay_ms, most=most, why="broken")
        )

        assert answer == self._model.retry(token, ids, delayed=delayed, most=most)

    @rule(id_=st.sampled_from(IDS))
    def cancel(self, id_):
        self._run(self._queue.cancel(FIRST.model, id_))
        self._model.cancel(id_)

    @rule(worker=st.sampled_from(WORKERS))
    def crash(self, worker):
        reaped = self._run(self._queue.forsake(FIRST.model, worker))

        assert (reaped.requeued, reaped.dead) == self._model.forsake(worker)

    @rule(gateway=st.sampled_from(GATEWAYS))
    def leave(self, gateway):
        self._run(self._reader(gateway).attach(leave=True))
        reaped = self._run(self._queue.reap(0))
        self._run(self._reader(gateway).attach())

        assert reaped.orphaned == self._model.leave(gateway)

    @rule()
    def reap(self):
        reaped = self._run(self._queue.reap(0))

        assert {reaped.requeued, reaped.dead, reaped.expired, reaped.retried} == {0}

    def _ids(self, token, more):
        """What the token is good for, and some more."""
        return list(dict.fromkeys([*self._model.held(token), *more]))

    def _reader(self, gateway):
        return ReplyReader(self._links, 1, gateway, print)

    # what must be so after each of them

    @invariant()
    def each_job_is_as_modelled(self):
        names = ("state", "token", "attempts", "crashes", "alone", "cancelled", "queue", "payload")
        with self._look.pipeline(transaction=False) as pipe:
            for id_ in IDS:
                pipe.hmget(self._keys.jobs + id_, names)
                pipe.get(self._keys.ended + id_)
            found = pipe.execute()
        for id_, values, ended in zip(IDS, found[::2], found[1::2], strict=True):
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
        volume = self._look.hget(self._keys.volume, f"{FIRST.model}:{FIRST.version}")
        assert int(volume or 0) == self._model.volume()

    @invariant()
    def each_reply_is_there_once(self):
        for gateway in GATEWAYS:
            # redis-py would make a dict of each entry, and lose all replies of a batch but one.
            read = "return redis.call('XRANGE', KEYS[1], '-', '+')"
            entries = self._look.eval(read, 1, self._keys.replies + gateway)
            found = [(r.job, r.code) for _, fields in entries for r in replies_of(fields)]
            assert Counter(found) == Counter(self._model.replies[gateway])

    @invariant()
    def each_key_has_a_life_time_or_an_owner(self):
        start = self._keys.jobs.removesuffix("job:")
        names = [name.decode() for name in self._look.keys(f"{start}*")]
        with self._look.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.pttl(name)
            lives_ms = pipe.execute()
        for name, life_ms in zip(names, lives_ms, strict=True):
            kind = name.removeprefix(start)
            assert life_ms > 0 or kind in LASTING or kind.startswith("ready:"), name


@pytest.mark.timeout(7200 if NIGHTLY else 120)
def test_the_queue_is_its_model(redis_url):
    run_state_machine_as_test(lambda: QueueMachine(redis_url), settings=SIZE)
