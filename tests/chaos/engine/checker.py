"""Reads a history and says what should not have happened. Pure: events in, violations out."""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass

from chaos.engine.history import FAIL, INVOKE, OK, UNKNOWN

GRACE_S = 1.0
"""A call ends by its deadline and this much more (I1)."""

TOLERANCE = 1e-4

HUNG = "HUNG"
"""The code of a call that its client gave up long after its deadline."""

PERMANENT = ("volume", "gateways", "grace", "dead", "events")
"""Keys of a partition that stay; `stats:` and the registry's do, too."""

ENDS = ("success_count", "fail_count", "expired", "cancelled", "dead")


@dataclass(frozen=True, slots=True)
class Violation:
    """What should not have happened, to which request, job or key."""

    rule: str
    id: str
    text: str

    def __str__(self):
        return f"{self.rule}: {self.id}: {self.text}"


def check(events, expected=None):
    """All violations in *events*; *expected* gives the right answer to a place."""
    found = [violation for rule in RULES for violation in rule(events)]
    return [*found, *wrong_numbers(events, expected)]


def _of(events, *operations):
    by_id = defaultdict(list)
    for event in events:
        if event.operation in operations:
            by_id[event.id].append(event)
    return by_id


def _run_facts(events):
    facts = {"allowed": [], "lossy": False}
    for event in events:
        if event.operation == "run":
            facts["allowed"] += event.facts.get("allowed", [])
            facts["lossy"] |= event.facts.get("lossy", False)
    return facts


def calls_without_one_end(events):
    """Each call that began has exactly one end, which comes after its beginning."""
    for id_, own in _of(events, "infer").items():
        begun = [event for event in own if event.kind == INVOKE]
        ends = [event for event in own if event.kind != INVOKE]
        if len(begun) != 1:
            yield Violation("one beginning", id_, f"began {len(begun)} times")
        elif not ends or ends[0].facts.get("code") == HUNG:
            yield Violation("lost", id_, "has no end")
        elif len(ends) != 1:
            yield Violation("doubled", id_, f"ended {len(ends)} times")
        elif ends[0].at_s < begun[0].at_s:
            yield Violation("one beginning", id_, "ended before it began")


def late_ends(events):
    """No call outlives its deadline by more than the grace."""
    for id_, own in _of(events, "infer").items():
        begun = next((event for event in own if event.kind == INVOKE), None)
        last = own[-1].at_s
        if begun is None or "deadline_s" not in begun.facts:
            continue
        over_s = last - begun.at_s - begun.facts["deadline_s"]
        if over_s > GRACE_S:
            yield Violation("deadline", id_, f"ended {over_s:.2f} s after its deadline")


def wrong_numbers(events, expected):
    """Each answer is what inference in the client's own process gives."""
    for id_, own in _of(events, "infer").items():
        begun = next((event for event in own if event.kind == INVOKE), None)
        for event in own:
            if event.kind != OK or begun is None:
                continue
            wanted, answer = expected(begun.facts["place"]), event.facts["answer"]
            pairs = zip(wanted, answer, strict=False)
            near = all(abs(one - other) <= TOLERANCE for one, other in pairs)
            if len(wanted) != len(answer) or not near:
                yield Violation("wrong", id_, "the answer is another request's, or nobody's")


def refused_without_leave(events):
    """Calls fail only as the run allows, or the call: ``CODE``, ``CODE: beginning of the text``."""
    of_run = _run_facts(events)["allowed"]
    for id_, own in _of(events, "infer").items():
        allowed = (*of_run, *own[0].facts.get("allowed", ()))
        for event in own:
            if event.kind in (FAIL, UNKNOWN) and event.facts["code"] != HUNG:
                told = f"{event.facts['code']}: {event.facts.get('text', '')}"
                if not told.startswith(allowed or ("\0",)):
                    yield Violation("clear errors", id_, told)


def chunks_out_of_order(events):
    """The chunks of a stream are 0, 1, 2 ..., none after its end, and an ok tells how many."""
    for id_, own in _of(events, "chunk", "infer").items():
        following, ended = 0, False
        for event in own:
            if event.operation == "infer":
                ended = ended or event.kind != INVOKE
                whole = event.facts.get("chunks", following)
                if event.kind == OK and whole != following:
                    yield Violation("chunks", id_, f"ended well after {following} of {whole}")
                continue
            if ended:
                yield Violation("chunks", id_, "a chunk came after the end")
            if event.facts["index"] != following:
                text = f"chunk {event.facts['index']} came in the place of {following}"
                yield Violation("chunks", id_, text)
            following = event.facts["index"] + 1


def delivered_although_fenced(events):
    """What a worker wrote after it had lost its lease is never delivered (I2)."""
    written = _of(events, "settle", "advance")
    for id_, own in _of(events, "reply").items():
        path = {token for event in own for token in event.facts.get("body", "").split()}
        for event in written.get(id_, ()):
            if event.facts.get("held") == "LOST" and event.facts["token"] in path:
                text = (
                    f"{event.facts['token']} had lost its lease, and its {event.operation} counts"
                )
                yield Violation("fenced", id_, text)


def accepted_from_old_owners(events):
    """Once another worker has a job, its old owner can neither settle nor advance it (I2).

    A worker may be stopped between its claim and the line that tells of it: one claim is known
    to be later than another only when it was asked for after the other had been written down.
    """
    if _run_facts(events)["lossy"]:
        return
    for id_, own in _of(events, "claim", "settle", "advance").items():
        claims = {e.facts["token"]: e for e in own if e.operation == "claim"}
        begun = {(e.operation, e.facts["token"]): e.at_s for e in own if e.kind == INVOKE}
        let = [e for e in own if e.facts.get("held") == "FINE"]
        for event in let:
            token = event.facts["token"]
            since_s = begun.get((event.operation, token), event.at_s)
            for owner in _later_owners(claims, token, since_s):
                text = f"{token} was let {event.operation} although {owner} had the job"
                yield Violation("fenced", id_, text)
        for operation, times in Counter(event.operation for event in let).items():
            if times > 1:
                yield Violation("fenced", id_, f"{times} workers were let {operation}")


def _later_owners(claims, token, before_s):
    """Who claimed after *token* had been given, and before a moment."""
    first = claims.get(token)
    if first is None:
        return []
    return [
        other
        for other, claim in claims.items()
        if first.at_s < claim.facts.get("asked_s", claim.at_s) and claim.at_s < before_s
    ]


def replies_not_once(events):
    """Every accepted job has a reply; all its deliveries are the same one."""
    replies, written = _of(events, "reply"), _of(events, "enqueue")
    lossy = _run_facts(events)["lossy"]
    for id_, own in written.items():
        if not any(event.kind == OK for event in own):
            continue
        bodies = {(e.facts["code"], e.facts.get("body")) for e in replies.get(id_, ())}
        if not bodies:
            yield Violation("lost", id_, "was accepted and has no reply")
        elif len(bodies) > 1 and not lossy:
            yield Violation("doubled", id_, f"has {len(bodies)} different replies")
    for id_ in replies.keys() - written.keys():
        yield Violation("one reply", id_, "has a reply, but was never enqueued")


def keys_without_one_reply(events):
    """All who wait for the reply of one key have it, and it is the same one for all (I4)."""
    for id_, own in _of(events, "key").items():
        made = {event.facts["made"] for event in own if event.kind == OK}
        if not made:
            yield Violation("lost", id_, "was asked for, and nobody has its reply")
        elif len(made) > 1:
            yield Violation("doubled", id_, f"has {len(made)} different replies")


def keys_run_twice(events):
    """Requests of one key never run at the same time, nor once one has its reply (I4).

    One that has no end was ended with its worker, and counts as over.
    """
    replies = _of(events, "key")
    for id_, own in _of(events, "execute").items():
        begun = {event.facts["made"]: event.at_s for event in own if event.kind == INVOKE}
        ended = {event.facts["made"]: event.at_s for event in own if event.kind == OK}
        for one, end_s in ended.items():
            if any(begun[one] < start_s < end_s for start_s in begun.values()):
                yield Violation("doubled", id_, "ran twice at the same time")
        told_s = min((e.at_s for e in replies.get(id_, ()) if e.kind == OK), default=math.inf)
        if any(start_s > told_s for start_s in begun.values()):
            yield Violation("doubled", id_, "ran again after it had its reply")


def begun_too_late(events):
    """No worker gets a job whose deadline has passed (I5)."""
    claims = _of(events, "claim")
    for id_, own in _of(events, "enqueue").items():
        done = next((event for event in own if event.kind == OK), None)
        if done is None or "deadline_s" not in own[0].facts:
            continue
        # At the latest: the store counts from when it accepted the job.
        deadline_s = done.at_s + own[0].facts["deadline_s"]
        for event in claims.get(id_, ()):
            asked_s = event.facts.get("asked_s", event.at_s)
            if asked_s > deadline_s:
                text = f"was claimed {asked_s - deadline_s:.2f} s after its deadline"
                yield Violation("deadline", id_, text)


def not_conserved(events):
    """At rest: accepted = succeeded + failed + expired + cancelled + dead, and none lives (I9)."""
    for event in events:
        if event.operation != "rest":
            continue
        for id_ in event.facts["live"]:
            yield Violation("conserved", id_, "still lives although nobody waits for it")
        counted = Counter(event.facts["counters"])
        ended = {name: counted[name] for name in ENDS}
        if not _run_facts(events)["lossy"] and counted["accepted"] != sum(ended.values()):
            text = f"{counted['accepted']} accepted, but {ended}"
            yield Violation("conserved", event.id, text)


def left_behind(events):
    """At rest every key has a life time, or is one of those that stay (I8)."""
    for event in events:
        if event.operation != "rest":
            continue
        for name, life_ms in event.facts["keys"].items():
            kind = name.split("}:", 1)[-1]
            stays = kind in PERMANENT or kind.startswith("stats:") or "{registry}" in name
            if life_ms < 0 and not stays:
                yield Violation("left behind", name, "has neither a life time nor an owner")
        for field, value in event.facts.get("live_bytes", {}).items():
            if value:
                yield Violation(
                    "left behind", field, f"{value} bytes of payloads are still counted"
                )


def above_limits(events):
    """What is measured (memory, sockets, a recovery's time) stays below its limit (I8)."""
    for event in events:
        if event.operation == "gauge" and event.facts["value"] > event.facts["most"]:
            text = f"{event.facts['value']:.6g} is more than {event.facts['most']:.6g}"
            yield Violation("limits", event.id, text)


RULES = (
    calls_without_one_end,
    late_ends,
    refused_without_leave,
    chunks_out_of_order,
    delivered_although_fenced,
    accepted_from_old_owners,
    replies_not_once,
    keys_without_one_reply,
    keys_run_twice,
    begun_too_late,
    not_conserved,
    left_behind,
    above_limits,
)
