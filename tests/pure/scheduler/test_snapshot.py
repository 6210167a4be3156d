"""Who lives is who was seen lately; a silence of everybody is held against nobody."""

import pytest
from support.records import node, placement, snapshot, stage, version, worker

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.snapshot import (
    FORGIVEN_GAP_MS,
    LIVE_MS,
    RETURN_MS,
    VersionId,
    empty_snapshot,
    live,
    placement_id,
    replica_of,
    signature_id,
    version_map,
    worker_id,
)

NOW = 1_700_000_000_000


def alive(ages_ms, gap=()):
    """Names that live when each was seen so long ago; *gap*: how long ago it began and ended."""
    seen = {name: float(NOW - age) for name, age in ages_ms.items()}
    seen |= dict(zip(("gap/from", "gap/until"), (NOW - age for age in gap), strict=False))
    return live(seen, NOW)


class TestLive:
    def test_nobody_was_ever_seen(self):
        assert live({}, NOW) == frozenset()

    def test_who_was_seen_within_three_seconds(self):
        ages = {"nodes/a": 0, "nodes/b": LIVE_MS, "nodes/c": LIVE_MS + 1}

        assert alive(ages) == {"nodes/a", "nodes/b"}

    def test_the_gap_s_own_marks_are_nobody(self):
        assert alive({"nodes/a": 0}, gap=(9_000, 0)) == {"nodes/a"}

    def test_when_all_are_silent_all_who_lived_then_still_do(self):
        ages = {"nodes/a": 30_000, "nodes/b": 30_000 + LIVE_MS, "nodes/c": 30_001 + LIVE_MS}

        assert alive(ages) == {"nodes/a", "nodes/b"}

    @pytest.mark.parametrize(("silence_ms", "names"), [(0, {"nodes/a"}), (1, set())])
    def test_a_silence_that_lasts_too_long_is_believed(self, silence_ms, names):
        assert alive({"nodes/a": FORGIVEN_GAP_MS + silence_ms}) == names

    def test_after_a_gap_those_who_lived_before_have_time_to_speak(self):
        """The gap lasted 20 s and ended 2 s ago; a was the first to speak."""
        ages = {"nodes/a": 0, "nodes/b": 22_000, "nodes/c": 22_001 + LIVE_MS}

        assert alive(ages, gap=(22_000, 2_000)) == {"nodes/a", "nodes/b"}

    @pytest.mark.parametrize(
        ("ended_ms", "names"), [(RETURN_MS, {"nodes/a", "nodes/b"}), (RETURN_MS + 1, {"nodes/a"})]
    )
    def test_they_have_as_long_as_it_takes_to_come_back_and_no_more(self, ended_ms, names):
        assert alive({"nodes/a": 0, "nodes/b": 23_000}, gap=(23_000, ended_ms)) == names

    def test_a_gap_that_was_too_long_forgives_nobody(self):
        ages = {"nodes/a": 0, "nodes/b": FORGIVEN_GAP_MS + 2_001}

        assert alive(ages, gap=(FORGIVEN_GAP_MS + 2_001, 2_000)) == {"nodes/a"}

    def test_one_silent_process_among_others_is_dead(self):
        assert alive({"nodes/a": 500, "workers/w": 20_000}) == {"nodes/a"}


class TestVersionMap:
    def test_versions_are_found_by_model_and_number(self):
        two, one = version(number=2), version(model="a")

        assert version_map([("r/m/2", two), ("r/a/1", one)]) == {
            VersionId("m", 2): two,
            VersionId("a", 1): one,
        }

    @pytest.mark.parametrize("backwards", [False, True])
    def test_the_source_that_sorts_first_has_a_version_that_two_publish(self, backwards):
        ours, theirs = version(replicas=1), version(replicas=2)
        fields = [("a/m/1", ours), ("b/m/1", theirs)]

        assert version_map(fields[::-1] if backwards else fields) == {VersionId("m", 1): ours}


class TestSnapshot:
    def test_an_empty_one_holds_nothing(self):
        nothing = empty_snapshot()

        assert nothing.live_nodes() == []
        assert nothing.versions_of("m") == []

    def test_only_the_living_are_listed_by_id(self):
        nodes = [node("b"), node("a", draining=True), node("c")]
        workers = [worker(placement(id_)) for id_ in "cba"]

        found = snapshot(nodes=nodes, workers=workers, dead=["nodes/c", "workers/b/m/1/0.0"])

        assert [one.id for one in found.live_nodes()] == ["a", "b"]
        assert [one.id for one in found.live_workers()] == ["a/m/1/0.0", "c/m/1/0.0"]

    def test_versions_of_a_model_come_lowest_first(self):
        records = [version(number=10), version(number=9), version(model="n")]

        found = snapshot(records).versions_of("m")

        assert [record.version for record in found] == [9, 10]

    def test_a_signature_is_that_of_the_content(self):
        record = version(stage(), stage(fingerprint="g"))
        known = pb.Signature(parameter_bytes=7)

        found = snapshot([record], signatures={signature_id("m", 1, 1, "g"): known})

        assert found.signature_of(record, record.stages[1]) == known
        record.stages[1].fingerprint = "newer"
        assert found.signature_of(record, record.stages[1]) is None


def test_names_of_a_placement_and_its_worker():
    placed = placement("n", 2, 1, model="digits", version=3)

    assert placement_id(placed) == "digits/3/2.1"
    assert worker_id(placed) == "n/digits/3/2.1"


def test_a_worker_is_named_after_its_replica():
    for revision in ("", "r1"):
        asked = placement(replica=12, revision_id=revision)

        assert replica_of(worker_id(asked)) == 12

    assert replica_of("host/m/1/0.4711/else") == 0
