"""Metrics of language models: tokens, when they came, and slots."""

from support.metrics import samples
from support.records import placement, worker

from penstock.gateway.operations.language_metrics import language_facts
from penstock.gateway.operations.metrics import Facts, GatewayFacts, render
from penstock.gateway.requests.language.measures import measured
from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.observe.loads import Load
from penstock.scheduler.registry.snapshot import VersionId
from penstock.scheduler.requests.counters import GatewayCounters

REF = StageRef("m", 1, 0)
M1 = VersionId("m", 1)
GATEWAY = GatewayFacts("host/1", pending=0, pending_bytes=0, lent_bytes=0, redis_up=True)
LABELS = {"model": "m", "version": "1"}


def told(facts, name, **labels):
    return samples(render(facts).decode())[name, tuple(sorted((LABELS | labels).items()))]


def workers(*states, stage=0):
    return [worker(placement(stage_index=stage), state) for state in states]


def facts(counters, *, leases=0, live=()):
    loads = {REF: Load(0, 0, leases, 0)}
    return Facts(GATEWAY, language=language_facts({M1: 8}, {M1: counters}, loads, live))


def test_tokens_are_told_by_their_kind():
    counted = facts(
        {"prompt_tokens": 5, "generated_tokens": 70, "cached_tokens": 3, "preempted": 2}
    )

    assert told(counted, "penstock_tokens_total", kind="prompt") == 5
    assert told(counted, "penstock_tokens_total", kind="generated") == 70
    assert told(counted, "penstock_tokens_total", kind="cached") == 3
    assert told(counted, "penstock_preemptions_total") == 2


def test_slots_are_those_of_workers_that_are_ready():
    """A group of several stages has those of its first."""
    ready, loading = pb.WORKER_STATE_READY, pb.WORKER_STATE_LOADING
    live = [*workers(ready, ready, loading), *workers(ready, stage=1)]
    counted = facts({}, leases=11, live=live)

    assert told(counted, "penstock_slots") == 16
    assert told(counted, "penstock_slots_taken") == 11


def test_ready_workers_are_counted_by_how_a_lost_cache_comes_back():
    live = workers(pb.WORKER_STATE_READY, pb.WORKER_STATE_READY, pb.WORKER_STATE_LOADING)
    live += workers(pb.WORKER_STATE_READY, stage=1)
    for one, rebuild in zip(live, ("prefill", "replay", "prefill", "prefill"), strict=True):
        one.rebuild = rebuild

    assert told(facts({}, live=live), "penstock_rebuilds", mode="prefill") == 2
    assert told(facts({}, live=live), "penstock_rebuilds", mode="replay") == 1


async def _log(clock, *pieces):
    for at_s, tokens in pieces:
        clock[0] = at_s
        yield b"\0\0\0\0" * tokens


async def test_when_tokens_came_is_counted_once_for_each_answer():
    counters, clock = GatewayCounters(), [10.0]
    log = _log(clock, (10.02, 1), (10.06, 2), (10.14, 2))
    passed = [piece async for piece in measured(log, counters, REF, 7, clock=lambda: clock[0])]
    counted = facts(counters._counts["m", 1])

    assert [len(piece) for piece in passed] == [4, 8, 8]
    assert told(counted, "penstock_tokens_total", kind="prompt") == 7
    assert told(counted, "penstock_first_token_seconds_bucket", le="0.025") == 1
    assert told(counted, "penstock_first_token_seconds_bucket", le="0.01") == 0
    assert abs(told(counted, "penstock_first_token_seconds_sum") - 0.02) < 1e-6
    assert told(counted, "penstock_output_token_seconds_bucket", le="0.05") == 1
    assert told(counted, "penstock_output_token_seconds_bucket", le="0.025") == 0
    assert abs(told(counted, "penstock_output_token_seconds_sum") - 0.03) < 1e-6


async def test_answers_without_a_token_are_not_measured():
    counters, clock = GatewayCounters(), [0.0]

    assert [piece async for piece in measured(_log(clock), counters, REF, 7)] == []
    assert not counters._counts
