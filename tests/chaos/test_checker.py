"""The checker finds what it should, and only that, in histories made up for it."""

import json

import pytest
from chaos.engine.checker import HUNG, check
from chaos.engine.history import FAIL, INVOKE, OK, UNKNOWN, Event, Recorder, read


def history(*lines):
    """``("infer", "a", INVOKE, {...})``: one event each, a tenth of a second apart."""
    return [
        Event(facts.pop("at_s", place / 10), "p", operation, id_, kind, facts)
        for place, (operation, id_, kind, facts) in enumerate(map(_whole, lines))
    ]


def _whole(line):
    operation, id_, kind, *facts = line
    return operation, id_, kind, dict(facts[0]) if facts else {}


def expected(place):
    return [float(place), 0.5]


def rules(*lines):
    return sorted({found.rule for found in check(history(*lines), expected)})


ASKED = ("infer", "a", INVOKE, {"place": 3, "deadline_s": 1.0})
ANSWERED = ("infer", "a", OK, {"answer": [3.0, 0.5]})
OFFERED = ("enqueue", "j", INVOKE, {"deadline_s": 1.0})
ACCEPTED = ("enqueue", "j", OK)
REST = {"keys": {}, "counters": {}, "live": []}


def failed(text, kind=FAIL):
    return ("infer", "a", kind, {"code": "UNAVAILABLE", "text": text})


def claim(token, **facts):
    return ("claim", "j", OK, {"token": token, **facts})


def settle(token, held, operation="settle"):
    facts = {"token": token}
    return [(operation, "j", INVOKE, facts), (operation, "j", OK, facts | {"held": held})]


def reply(body, code=0):
    return ("reply", "j", OK, {"code": code, "body": body})


WANTED = ("key", "k", INVOKE)


def kept(made):
    return ("key", "k", OK, {"made": made})


def executed(made, kind=OK):
    return ("execute", "k", kind, {"made": made})


def rest(**facts):
    return ("rest", "digits:1", OK, REST | facts)


GOOD = {
    "nothing": [],
    "an answer": [ASKED, ANSWERED],
    "an allowed refusal": [
        ("run", "r", OK, {"allowed": ["UNAVAILABLE: away"]}),
        ASKED,
        failed("away"),
    ],
    "one of several allowed refusals": [
        ("run", "r", OK, {"allowed": ["UNAVAILABLE: away"]}),
        ("run", "r", OK, {"allowed": ["INTERNAL"]}),
        ASKED,
        failed("away"),
    ],
    "a refusal that the call allows": [
        ("infer", "a", INVOKE, {"place": 3, "allowed": ["UNAVAILABLE"]}),
        failed("away"),
    ],
    "an unknown end": [("run", "r", OK, {"allowed": ["UNAVAILABLE"]}), ASKED, failed("", UNKNOWN)],
    "an end within the grace": [ASKED, (*ANSWERED[:3], ANSWERED[3] | {"at_s": 1.9})],
    "a stream": [
        ASKED,
        ("chunk", "a", OK, {"index": 0}),
        ("chunk", "a", OK, {"index": 1}),
        ("infer", "a", OK, {"answer": [3.0, 0.5], "chunks": 2}),
    ],
    "a job": [OFFERED, ACCEPTED, claim("w.1"), *settle("w.1", "FINE"), reply("w.1")],
    "a reply that comes twice": [OFFERED, ACCEPTED, reply("w.1"), reply("w.1")],
    "a lost lease": [
        *(OFFERED, ACCEPTED, claim("w.1"), claim("v.1")),
        *settle("v.1", "FINE"),
        *settle("w.1", "LOST"),
        reply("v.1"),
    ],
    "a settle that overtook the next claim's answer": [
        *(OFFERED, ACCEPTED, claim("w.1"), settle("w.1", "FINE")[0], claim("v.1")),
        *(settle("w.1", "FINE")[1], reply("w.1")),
    ],
    "a claim that was written down late": [
        *(OFFERED, ACCEPTED, claim("v.1"), claim("w.1", asked_s=0.15), *settle("v.1", "FINE")),
        reply("v.1"),
    ],
    "another stage": [
        *(OFFERED, ACCEPTED, claim("w.1"), *settle("w.1", "FINE", "advance")),
        *(claim("v.1"), *settle("v.1", "FINE"), reply("w.1 v.1")),
    ],
    "a refused job": [OFFERED, ("enqueue", "j", FAIL, {"code": "UNAVAILABLE"})],
    "a key": [WANTED, WANTED, executed(1, INVOKE), executed(1), kept(1), kept(1)],
    "a key whose first worker died": [
        *(WANTED, executed(1, INVOKE), executed(2, INVOKE), executed(2), kept(2)),
    ],
    "a key whose first worker lost the job": [
        *(WANTED, executed(1, INVOKE), executed(1), executed(2, INVOKE), executed(2), kept(2)),
    ],
    "rest": [rest(counters={"accepted": 3, "success_count": 2, "expired": 1})],
    "keys that may stay": [
        rest(
            keys={
                "penstock:{p00}:stats:digits:1": -1,
                "penstock:{p00}:events": -1,
                "penstock:{registry}:nodes": -1,
                "penstock:{p00}:ended:j": 900,
                "penstock:{p00}:ended:k": 0,
            },
            live_bytes={"digits:1": 0},
        )
    ],
    "memory within its limit": [("gauge", "rss", OK, {"value": 9, "most": 10})],
}

BAD = {
    "no end": ([ASKED], "lost"),
    "no end although its client waited": (
        [ASKED, ("infer", "a", UNKNOWN, {"code": HUNG, "at_s": 1.5})],
        "lost",
    ),
    "two ends": ([ASKED, ANSWERED, ANSWERED], "doubled"),
    "an end without a beginning": ([ANSWERED], "one beginning"),
    "the same call twice": ([ASKED, ASKED, ANSWERED], "one beginning"),
    "another's numbers": ([ASKED, ("infer", "a", OK, {"answer": [4.0, 0.5]})], "wrong"),
    "half the numbers": ([ASKED, ("infer", "a", OK, {"answer": [3.0]})], "wrong"),
    "no number": ([ASKED, ("infer", "a", OK, {"answer": [3.0, float("nan")]})], "wrong"),
    "an end long after the deadline": (
        [ASKED, (*ANSWERED[:3], ANSWERED[3] | {"at_s": 2.1})],
        "deadline",
    ),
    "a failure where none may be": ([ASKED, failed("away")], "clear errors"),
    "another failure than may be": (
        [("run", "r", OK, {"allowed": ["UNAVAILABLE: away", "INTERNAL"]}), ASKED, failed("busy")],
        "clear errors",
    ),
    "a gap in a stream": ([("chunk", "a", OK, {"index": n}) for n in (0, 2)], "chunks"),
    "a chunk that comes twice": ([("chunk", "a", OK, {"index": n}) for n in (0, 0)], "chunks"),
    "a stream cut off that ends well": (
        [ASKED, ("chunk", "a", OK, {"index": 0}), (*ANSWERED[:3], ANSWERED[3] | {"chunks": 2})],
        "chunks",
    ),
    "a chunk after the end": ([ASKED, ANSWERED, ("chunk", "a", OK, {"index": 0})], "chunks"),
    "a fenced result that is delivered": (
        [OFFERED, ACCEPTED, claim("w.1"), *settle("w.1", "LOST"), reply("w.1")],
        "fenced",
    ),
    "fenced activations that travel on": (
        [
            *(OFFERED, ACCEPTED, claim("w.1"), *settle("w.1", "LOST", "advance")),
            *(claim("v.1"), *settle("v.1", "FINE"), reply("w.1 v.1")),
        ],
        "fenced",
    ),
    "an old owner that may still write": (
        [OFFERED, ACCEPTED, claim("w.1"), claim("v.1"), *settle("w.1", "FINE"), reply("w.1")],
        "fenced",
    ),
    "two owners that may write": (
        [
            *(OFFERED, ACCEPTED, claim("w.1"), settle("w.1", "")[0], claim("v.1")),
            *(settle("v.1", "FINE")[0], settle("w.1", "FINE")[1], settle("v.1", "FINE")[1]),
            reply("w.1"),
        ],
        "fenced",
    ),
    "an accepted job without a reply": ([OFFERED, ACCEPTED], "lost"),
    "two replies": ([OFFERED, ACCEPTED, reply("w.1"), reply("v.1")], "doubled"),
    "a key that nobody has the reply of": ([WANTED, executed(1, INVOKE), executed(1)], "lost"),
    "a key with two replies": ([WANTED, kept(1), kept(2)], "doubled"),
    "a key that runs twice at the same time": (
        [WANTED, executed(1, INVOKE), executed(2, INVOKE), executed(1), executed(2), kept(1)],
        "doubled",
    ),
    "a key that runs again": (
        [WANTED, executed(1, INVOKE), executed(1), kept(1), executed(2, INVOKE), executed(2)],
        "doubled",
    ),
    "a reply to nobody": ([reply("w.1")], "one reply"),
    "a job begun after its deadline": (
        [OFFERED, ACCEPTED, claim("w.1", asked_s=1.3), reply("w.1")],
        "deadline",
    ),
    "a job that got lost": ([rest(counters={"accepted": 3, "success_count": 2})], "conserved"),
    "a job that was counted twice": (
        [rest(counters={"accepted": 1, "success_count": 1, "dead": 1})],
        "conserved",
    ),
    "a job that lives on": ([rest(live=["j"])], "conserved"),
    "a key without a life time": ([rest(keys={"penstock:{p00}:job:j": -1})], "left behind"),
    "a lease that is left": ([rest(keys={"penstock:{p00}:lease": -1})], "left behind"),
    "bytes that are still counted": ([rest(live_bytes={"digits:1": 40})], "left behind"),
    "memory that grows": ([("gauge", "rss", OK, {"value": 11, "most": 10})], "limits"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_passes(name):
    assert rules(*GOOD[name]) == []


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_told_by_its_rule(name):
    lines, rule = BAD[name]

    assert rules(*lines) == [rule]


@pytest.mark.parametrize("name", ["two replies", "an old owner that may still write"])
def test_a_store_that_lost_data_may_have_a_job_done_twice(name):
    lossy = ("run", "r", OK, {"lossy": True})

    assert rules(lossy, *BAD[name][0]) == []


def test_what_fenced_workers_wrote_is_not_delivered_even_by_a_store_that_lost_data():
    lossy = ("run", "r", OK, {"lossy": True})

    assert rules(lossy, *BAD["a fenced result that is delivered"][0]) == ["fenced"]


def test_histories_of_several_processes_are_put_together_by_time(tmp_path):
    first, second = Recorder(tmp_path, "first"), Recorder(tmp_path, "second")
    first.write("infer", "a", INVOKE, place=1)
    second.write("claim", "a", OK, attempts=1)
    first.write("infer", "a", OK, answer=[1.0])

    events = read(tmp_path)

    assert [(e.process, e.operation, e.kind) for e in events] == [
        ("first", "infer", INVOKE),
        ("second", "claim", OK),
        ("first", "infer", OK),
    ]
    assert events[0].facts == {"place": 1}


def test_a_line_that_was_cut_off_by_a_kill_is_left_out(tmp_path):
    recorder = Recorder(tmp_path, "killed")
    recorder.write("claim", "a", OK)
    with (tmp_path / "killed.jsonl").open("a") as file:
        file.write(json.dumps({"at_s": 1.0})[:5])

    assert [event.id for event in read(tmp_path)] == ["a"]
