"""What the queue should do, in plain Python: no Redis, no clock, no concurrency.

Deadlines are far away and leases long; what time does is tested by itself.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from penstock.errors import Code
from penstock.scheduler.jobs.types import Held
from penstock.scheduler.replies.chunks import Added

FINE, CANCELLED, LOST = Held.FINE, Held.CANCELLED, Held.LOST
FULL = "full"


@dataclass
class ModelJob:
    """A live job. *head*: it was put at the head of its queue, whatever its priority."""

    id: str
    gateway: str
    queue: str
    priority: int
    rows: int
    ttl_ms: int
    payload: bytes
    limited: bool
    state: str = "waiting"
    token: str = ""
    attempts: int = 0
    crashes: int = 0
    alone: bool = False
    head: bool = False
    cancelled: bool = False
    moved_by: str = ""
    returned_by: str = ""
    parts: list[bytes] = field(default_factory=list)

    def waits(self, *, head=False):
        self.state, self.token, self.head = "waiting", "", head

    def urgency(self):
        return (not self.head, 0 if self.head else (self.priority, self.ttl_ms), self.id)


class QueueModel:
    """All jobs of one model version."""

    def __init__(self):
        self.jobs = {}
        self.ended = {}
        self.counts = Counter()
        self.replies = defaultdict(list)
        self._claims = {}

    # what is so

    def waiting(self, queue):
        """The jobs of a queue, most urgent first."""
        found = [job for job in self.jobs.values() if (job.state, job.queue) == ("waiting", queue)]
        return [job.id for job in sorted(found, key=ModelJob.urgency)]

    def in_state(self, state):
        return {job.id for job in self.jobs.values() if job.state == state}

    def held(self, token):
        """The jobs that a token is good for."""
        return [job.id for job in self.jobs.values() if (job.state, job.token) == ("leased", token)]

    def live_bytes(self):
        return sum(len(job.payload) for job in self.jobs.values() if job.limited)

    # what happens

    def enqueue(self, jobs, limits):
        return [self._enqueue(job, limits) for job in jobs]

    def _enqueue(self, job, limits):
        if job.id in self.ended:
            return self.ended[job.id][0]
        if job.id in self.jobs:
            return self.jobs[job.id].state
        if limits.jobs and len(self.waiting(job.queue)) >= limits.jobs:
            return FULL
        if limits.payload_bytes and self.live_bytes() + len(job.payload) > limits.payload_bytes:
            return FULL
        self.jobs[job.id] = job
        self.counts["accepted"] += 1
        return None

    def claim(self, queue, worker, token, rows, *, idle):
        """The ids that are leased, and whether something waits that does not fit."""
        last_token, last_ids = self._claims.get(worker, ("", ()))
        if last_token == token:
            held = self.held(token)
            return [id_ for id_ in last_ids if id_ in held], False
        taken, unfit, left = [], False, rows
        for job in (self.jobs[id_] for id_ in self.waiting(queue)):
            if left <= 0:
                break
            first = idle and not taken
            if (job.rows <= left or first) and (not job.alone or first):
                taken.append(job.id)
                left = 0 if job.alone else left - job.rows
            else:
                unfit, left = True, 0
        for job in (self.jobs[id_] for id_ in taken):
            job.state, job.token, job.attempts = "leased", token, job.attempts + 1
        if taken:
            self._claims[worker] = (token, taken)
        return taken, unfit and not taken

    def renew(self, token, ids):
        return [
            LOST if job is None else CANCELLED if job.cancelled else FINE
            for job in (self._owned(id_, token) for id_ in ids)
        ]

    def settle(self, token, codes):
        return [self._settle(token, id_, code) for id_, code in codes.items()]

    def _settle(self, token, id_, code):
        job = self._owned(id_, token)
        if job is None:
            return self._ended_by(id_, token)
        if job.cancelled:
            self._end(job, "cancelled", token)
        else:
            self._end(job, "succeeded" if code is Code.OK else "failed", token, code)
        return CANCELLED if job.cancelled else FINE

    def advance(self, token, queue, ids):
        return [self._advance(token, queue, id_) for id_ in ids]

    def _advance(self, token, queue, id_):
        job = self._owned(id_, token)
        if id_ in self.jobs and self.jobs[id_].moved_by == token:
            return FINE
        if job is None and self.ended.get(id_, ())[2:] == (token,):
            return FINE
        if job is None:
            return self._ended_by(id_, token)
        if job.cancelled:
            self._end(job, "cancelled", token)
            return CANCELLED
        if job.crashes:
            job.alone, job.crashes = False, 0
        job.queue, job.payload, job.attempts = queue, b"activations of " + id_.encode(), 0
        job.moved_by = token
        job.waits()
        return FINE

    def add_part(self, token, id_, index, digest):
        job = self._owned(id_, token)
        if job is None:
            return Added.LOST
        if job.cancelled:
            return Added.CANCELLED
        there = len(job.parts)
        if index == there:
            return Added.FINE if job.parts[-1] == digest else Added.DIFFERENT
        if index != there + 1:
            return Added.FINE if index < there else Added.GAP
        job.parts.append(digest)
        self.replies[job.gateway].append((id_, index))
        return Added.FINE

    def cancel(self, id_):
        job = self.jobs.get(id_)
        if job is None:
            return
        if job.state == "leased":
            job.cancelled = True
        else:
            self._end(job, "cancelled", "")

    def give_back(self, token, ids):
        return [self._nack(token, id_, unbegun=True) for id_ in ids]

    def retry(self, token, ids, *, delayed, most):
        return [self._nack(token, id_, delayed=delayed, most=most) for id_ in ids]

    def _nack(self, token, id_, *, unbegun=False, delayed=False, most=0):
        job = self._owned(id_, token)
        if id_ in self.jobs and self.jobs[id_].returned_by == token:
            return FINE
        if job is None:
            return LOST if self._ended_by(id_, token) is LOST else CANCELLED
        if job.cancelled:
            self._end(job, "cancelled", token)
            return CANCELLED
        if not unbegun and job.attempts >= most:
            self._end(job, "failed", token, Code.INTERNAL)
            return CANCELLED
        job.attempts -= unbegun
        job.returned_by = token
        job.waits(head=job.alone)
        if delayed:
            job.state = "delayed"
        return FINE

    def release_leases_of(self, worker):
        """How many of the worker's jobs were queued again, and how many set aside."""
        before = self.counts["requeued"], self.counts["dead"]
        for job in list(self.jobs.values()):
            if job.state == "leased" and job.token.startswith(f"{worker}."):
                self._crash(job)
        return self.counts["requeued"] - before[0], self.counts["dead"] - before[1]

    def _crash(self, job):
        job.crashes += 1
        if job.cancelled:
            self._end(job, "cancelled", "")
        elif job.alone and job.crashes >= 2:
            self._end(job, "dead", "", Code.INTERNAL)
        else:
            job.alone = True
            job.waits(head=True)
            self.counts["requeued"] += 1

    def leave(self, gateway):
        """How many jobs nobody waits for any more."""
        orphans = [
            job for job in self.jobs.values() if job.gateway == gateway and not job.cancelled
        ]
        for job in orphans:
            self.cancel(job.id)
        self.replies.pop(gateway, None)
        return len(orphans)

    def _owned(self, id_, token):
        return self.jobs[id_] if id_ in self.held(token) else None

    def _ended_by(self, id_, token):
        state, by, *_ = self.ended.get(id_, ("", ""))
        if by != token:
            return LOST
        return CANCELLED if state == "cancelled" else FINE

    def _end(self, job, state, token, code=None):
        del self.jobs[job.id]
        self.ended[job.id] = (state, token, job.moved_by) if job.moved_by else (state, token)
        self.counts[state] += 1
        if code is not None:
            self.replies[job.gateway].append((job.id, code))
