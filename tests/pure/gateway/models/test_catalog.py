"""Requests find the version that they name, or Triton's words for why they do not."""

import pytest
from support.catalogs import FAILED, LOADING, WHOLE, catalog, ready, refusal, seen
from support.clients.infer_requests import spec
from support.records import (
    config,
    known,
    node,
    placement,
    signature,
    snapshot,
    stage,
    version,
    worker,
)

from penstock.errors import InvalidRequest, ModelNotFound, ModelNotReady
from penstock.gateway.models.catalog import Catalog, Served, parse_version
from penstock.models.config.policies import COUNTED_BYTES, QueueLimits
from penstock.models.refs import StageRef
from penstock.scheduler.registry.snapshot import VersionId


class TestServed:
    def test_a_version_by_its_number(self):
        served = catalog(ready(1), ready(2)).served("m", "1")

        assert served.ref == StageRef("m", 1, 0)
        assert served.rules.max_batch_size == 64
        assert list(served.rules.inputs) == ["x"]
        assert served.limits == QueueLimits()

    def test_the_highest_that_takes_requests_when_none_is_named(self):
        some = catalog(ready(9), ready(10), ready(11, **FAILED), ready(12, model="other"))

        assert some.served("m", "").ref.version == 10

    def test_a_version_whose_worker_comes_back_takes_requests(self):
        assert catalog(ready(1, **LOADING)).served("m", "1").ref == StageRef("m", 1, 0)

    def test_the_limit_of_its_queue(self):
        text = "max_batch_size: 2 dynamic_batching { default_queue_policy { max_queue_size: 7 } }"

        assert catalog(ready(text=text)).served("m", "").limits == QueueLimits(jobs=7)

    def test_an_unknown_model(self):
        assert refusal(ModelNotFound, catalog(ready()).served, "n", "") == (
            "Request for unknown model: 'n' is not found"
        )

    def test_an_unknown_version(self):
        assert refusal(ModelNotFound, catalog(ready()).served, "m", "2") == (
            "Request for unknown model: 'm' version 2 is not found"
        )

    def test_a_version_that_cannot_be_served(self):
        assert refusal(ModelNotReady, catalog(ready(**FAILED)).served, "m", "1") == (
            "Request for unknown model: 'm' version 1 is not at ready state"
        )

    def test_a_model_of_which_no_version_can_be_served(self):
        broken = version(error="m/1 holds nothing"), {}, worker(placement(model="other"))

        assert refusal(ModelNotFound, catalog(broken).served, "m", "") == (
            "Request for unknown model: 'm' has no available versions"
        )

    @pytest.mark.parametrize("state", [LOADING, FAILED])
    def test_a_model_that_is_loaded_again_is_not_unknown(self, state):
        record, _, loading = ready(3, **state)

        assert refusal(ModelNotReady, catalog((record, {}, loading)).served, "m", "") == (
            "Request for unknown model: 'm' version 3 is not at ready state"
        )

    def test_what_could_not_be_loaded_takes_no_requests_while_it_is_tried_again(self):
        record, signatures, trying = ready(1, **LOADING)
        trying.load_error = "no such op"
        some = catalog((record, signatures, trying))
        ref = StageRef("m", 1, 0)

        assert refusal(ModelNotReady, some.served, "m", "1") == (
            "Request for unknown model: 'm' version 1 is not at ready state"
        )
        assert str(some.failures([ref])[ref]) == (
            "Request for unknown model: 'm' version 1 is not at ready state"
        )
        assert some.failures([StageRef("m", 1, 0, "older")]) == {}
        assert catalog(ready(1, **LOADING)).failures([ref]) == {}

    def test_nothing_is_known_before_the_first_snapshot(self):
        assert "'m' is not found" in refusal(ModelNotFound, Catalog().served, "m", "")

    @pytest.mark.parametrize("text", ["x", "-1", "1.0", " 1", "\u0661", "9" * 20, "9" * 5000])
    def test_a_version_that_is_no_number(self, text):
        assert refusal(InvalidRequest, catalog(ready()).served, "m", text) == (
            f"failed to get model version from specified version string '{text}' "
            "(details: not a number), version should be an integral value > 0"
        )


class TestUpdate:
    def test_what_did_not_change_is_kept(self):
        some = catalog(ready(1))
        before = some.served("m", "")

        some.update(seen(ready(1), ready(2, **FAILED)))

        assert some.served("m", "") is before

    def test_a_new_version_is_found_at_once(self):
        some = catalog(ready(1))
        before = some.served("m", "")

        some.update(seen(ready(1), ready(2)))

        assert some.served("m", "").ref.version == 2
        assert some.served("m", "1") is before

    def test_new_content_is_served_anew(self):
        some = catalog(ready(1))
        before = some.served("m", "1")

        some.update(seen(ready(1, text="max_batch_size: 2")))

        assert some.served("m", "1") is not before
        assert some.served("m", "1").rules.max_batch_size == 2

    def test_what_failed_is_no_longer_found(self):
        some = catalog(ready(1))
        some.served("m", "1")

        some.update(seen(ready(1, **FAILED)))

        assert "not at ready state" in refusal(ModelNotReady, some.served, "m", "1")


class TestDescribed:
    def test_a_version_that_is_known_need_not_live(self):
        id_, deployment = catalog(ready(1, **FAILED)).described("m", "1")

        assert id_ == VersionId("m", 1)
        assert deployment.config.max_batch_size == 64

    def test_the_one_that_would_be_served_when_none_is_named(self):
        id_, _ = catalog(ready(1), ready(2, **FAILED)).described("m", "")

        assert id_ == VersionId("m", 1)

    def test_one_that_no_worker_has_seen(self):
        record = version()

        some = Catalog()
        some.update(snapshot([record], nodes=[node("n")], placements=[placement()]))

        assert refusal(ModelNotReady, some.described, "m", "1") == (
            "Request for unknown model: 'm' version 1 is not at ready state"
        )

    @pytest.mark.parametrize(("model", "number"), [("n", "1"), ("m", "2"), ("n", "")])
    def test_one_that_there_is_not(self, model, number):
        assert "is not found" in refusal(ModelNotFound, catalog(ready()).described, model, number)


class TestReady:
    @pytest.mark.parametrize(
        ("model", "number", "expected"),
        [
            ("m", "1", True),
            ("m", "2", False),
            ("m", "3", False),
            ("m", "", True),
            ("n", "", False),
        ],
    )
    def test_a_version_or_any(self, model, number, expected):
        assert catalog(ready(1), ready(2, **LOADING)).ready(model, number) is expected

    def test_taking_requests_is_not_enough(self):
        some = catalog(ready(1, **LOADING))

        assert some.served("m", "1").ref.version == 1
        assert not some.ready("m", "")

    def test_a_version_that_is_no_number(self):
        assert "not a number" in refusal(InvalidRequest, catalog().ready, "m", "x")


class TestAll:
    def test_nothing_is_settled_before_the_first_snapshot(self):
        assert not Catalog().all_settled()
        assert catalog().all_settled()

    @pytest.mark.parametrize(("states", "settled"), [((FAILED, {}), True), ((LOADING, {}), False)])
    def test_settled_is_what_no_longer_loads(self, states, settled):
        some = catalog(*(ready(number, **state) for number, state in enumerate(states, 1)))

        assert some.all_settled() is settled

    def test_versions_and_records_are_in_order(self):
        some = catalog(ready(10), ready(2), ready(1, model="a"))

        assert some.versions_of("m") == [2, 10]
        assert [id_ for id_, _ in some.records()] == [("a", 1), ("m", 2), ("m", 10)]
        assert some.versions_of("gone") == []


@pytest.mark.parametrize(("text", "number"), [("", 0), ("7", 7), ("007", 7)])
def test_a_version_is_a_number_or_left_to_the_server(text, number):
    assert parse_version(text) == number


@pytest.mark.parametrize(
    ("text", "why"), [("0", ""), ("00", ""), ("-1", " (details: not a number)")]
)
def test_a_version_is_above_0(text, why):
    with pytest.raises(InvalidRequest) as caught:
        parse_version(text)

    assert str(caught.value) == (
        f"failed to get model version from specified version string '{text}'{why}, version should "
        "be an integral value > 0"
    )


def test_a_pipeline_is_entered_at_its_first_stage():
    h = spec("h", "FP32", -1, 8)
    record = version(stage(), stage())
    ends = [signature(WHOLE.inputs, [h]), signature([h], WHOLE.outputs)]

    some = Catalog()
    some.update(
        snapshot(
            [record],
            signatures=known(record, *ends),
            workers=[worker(placement("n", index)) for index in range(2)],
        )
    )

    served = some.served("m", "")
    assert isinstance(served, Served)
    assert served.ref == StageRef("m", 1, 0)
    assert [plan.keeps for plan in served.deployment.stages] == [("h",), ("y",)]


class TestLimits:
    def served(self, most, policy=""):
        made = Catalog(most)
        text = f"max_batch_size: 2 dynamic_batching {{ {policy} }}"
        made.update(seen(ready(1, text=text)))
        return made.served("m", "1")

    def test_the_smaller_limit_of_jobs_counts(self):
        policy = "default_queue_policy { max_queue_size: 7 }"

        assert self.served(QueueLimits(9), policy).limits.jobs == 7
        assert self.served(QueueLimits(5), policy).limits.jobs == 5
        assert self.served(QueueLimits(5)).limits.jobs == 5
        assert self.served(QueueLimits()).limits.jobs == 0

    def test_bytes_are_limited_for_requests_that_are_not_small(self):
        served = self.served(QueueLimits(5, 1 << 30))

        assert served.limits_for(COUNTED_BYTES - 1) == QueueLimits(5)
        assert served.limits_for(COUNTED_BYTES) == QueueLimits(5, 1 << 30)

    def test_a_level_has_its_own_limit_and_one_without_is_bounded_with_all(self):
        policy = (
            "priority_levels: 2 default_priority_level: 2 "
            "priority_queue_policy { key: 1 value { max_queue_size: 3 timeout_action: DELAY } }"
        )

        served = self.served(QueueLimits(9, 1 << 30), policy)

        assert served.limits_for(0, 1) == QueueLimits(3, level=1, puts_off=True)
        assert served.limits_for(COUNTED_BYTES, 1) == QueueLimits(3, 1 << 30, 1, puts_off=True)
        assert served.limits_for(0, 2) == QueueLimits(9)


class TestOfAnotherRelease:
    """A record that this release does not understand is its own version's trouble alone."""

    def test_an_unknown_datatype_leaves_other_models_served(self):
        said = config("max_batch_size: 8")
        for tensors, name in ((said.input, "x"), (said.output, "y")):
            tensors.add(name=name, dims=[4], data_type=99)
        record, signatures, placed = ready(model="strange")
        record.config = said.SerializeToString()

        made = catalog(ready(), (record, signatures, placed))

        assert made.served("m", "").id == VersionId("m", 1)
        assert "does not understand its record" in made.states[VersionId("strange", 1)].reason
        assert "not at ready state" in refusal(ModelNotReady, made.served, "strange", "1")
