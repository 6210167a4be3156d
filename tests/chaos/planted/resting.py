"""Faults to plant in what spares work while little happens."""

from chaos.planted.fault import LUA, Mutant

ACCEPTING = "tests/grpc/servers/test_accepting.py::"
WATCHING = "tests/redis/registry/test_watching.py::"

RESTING = [
    Mutant(
        "resting: who lives is never looked at again",
        LUA + "registry_snapshot.lua",
        "'+inf') == tonumber(ARGV[4])",
        "'+inf') >= 0",
        WATCHING + "test_who_falls_silent_is_missed_though_nothing_changes",
    ),
    Mutant(
        "resting: a use that a reader does not know is not shown",
        LUA + "registry_snapshot.lua",
        "(uses == '' or uses ~= ARGV[3])",
        "uses == ''",
        WATCHING + "test_a_look_at_what_did_not_change_is_short",
    ),
    Mutant(
        "resting: reapers find it quiet beside an idle sequence",
        LUA + "reap.lua",
        "DELAY, IDLE) == 0",
        "DELAY) == 0",
        "tests/redis/jobs/test_sequences.py::test_an_idle_sequence_is_over",
    ),
    Mutant(
        "resting: reapers find it quiet beside a gateway that is silent",
        LUA + "reap.lua",
        "and heard_ms > now_ms - gateway_ms",
        "and heard_ms > 0",
        "tests/redis/jobs/test_reap.py::test_a_silent_gateway_without_jobs_is_forgotten",
    ),
    Mutant(
        "resting: a claim that is repeated finds nothing",
        LUA + "claim.lua",
        "if not is_repeated and redis",
        "if redis",
        "tests/redis/jobs/test_claim.py::test_the_same_nonce_gives_only_what_is_still_leased",
    ),
    Mutant(
        "resting: what carries events takes the core from who makes them",
        "gateway/fronts/asgi.py",
        "        have_stand_back(_CARRIER)",
        "        pass",
        "tests/grpc/servers/test_servers.py::test_what_carries_events_takes_no_core_from_who_makes_them",
    ),
    Mutant(
        "resting: what waits for grpc.aio's events takes the core from who makes them",
        "gateway/fronts/grpc/aio/poller.py",
        "            stand_back(thread.native_id)",
        "            pass",
        ACCEPTING + "test_what_waits_for_events_takes_no_core_from_who_makes_them",
    ),
    Mutant(
        "accepting: one call at a time",
        "gateway/fronts/grpc/aio/accepting.py",
        "for _ in range(_AT_ONCE):",
        "for _ in range(0):",
        ACCEPTING + "test_calls_that_wait_begin_together",
    ),
    Mutant(
        "accepting: a release of grpcio that nobody knows is taken for one that is known",
        "gateway/fronts/grpc/aio/accepting.py",
        "return found == _PARTS and",
        "return",
        ACCEPTING + "test_an_unknown_grpcio_accepts_calls_as_ever",
    ),
    Mutant(
        "resting: who is not heard waits for its next resting beat",
        "workers/liveness/heartbeat.py",
        "rests = self._rests() and self._is_heard()",
        "rests = self._rests()",
        "tests/redis/registry/test_heartbeat.py::test_a_worker_that_rests_in_an_outage_tells_its_node_soon_that_it_is_over",
    ),
]
