"""A scheduler acts on load requests that have no answer yet."""

from dataclasses import replace

from support.records import placement, snapshot, stage, version, worker

from penstock.models.files.repository import NO_VERSION
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.decisions.rollout import rollout
from penstock.scheduler.roles.answering import renewed, unanswered, unloaded_versions


def known(*versions, load_requests=(), load_results=None, **facts):
    return replace(
        snapshot(versions, **facts),
        load_requests={load_request.model: load_request for load_request in load_requests},
        load_results=load_results or {},
    )


def load_request(id_, model="m", **fields):
    return pb.LoadRequest(model=model, id=id_, **fields)


class TestUnanswered:
    def test_a_load_request_without_an_answer(self):
        assert unanswered(known(load_requests=[load_request("w")])) == ["m"]

    def test_a_load_request_whose_answer_is_to_an_older_one(self):
        facts = known(
            load_requests=[load_request("new")],
            load_results={"m": pb.LoadResult(load_request="old")},
        )

        assert unanswered(facts) == ["m"]

    def test_not_one_that_was_answered(self):
        facts = known(
            version(),
            load_requests=[load_request("w")],
            load_results={"m": pb.LoadResult(load_request="w")},
        )

        assert unanswered(facts) == []

    def test_what_is_published_and_nobody_requested(self):
        assert unanswered(known(version(model="old"))) == ["old"]


class TestUnloaded:
    def test_the_versions_that_are_published(self):
        facts = known(version(number=2), version(number=1), version(model="n", number=3))

        assert unloaded_versions("m", facts) == [1, 2]

    def test_those_of_the_last_time_when_none_is(self):
        facts = known(load_results={"m": pb.LoadResult(unloaded=[4])})

        assert unloaded_versions("m", facts) == [4]

    def test_not_the_place_of_an_error(self):
        assert unloaded_versions("m", known(version(number=NO_VERSION, error="broken"))) == []


class TestRenewed:
    FAILED = worker(placement(revision_id="g"), pb.WORKER_STATE_FAILED, "broken")

    def revision_id(self, found, there, *workers, id_="w"):
        facts = known(there, workers=workers)
        (made,) = renewed([found], rollout(facts).newest, facts, id_)
        return made.revision_id

    def content(self, revision_id, fingerprint="f"):
        return version(stage(fingerprint=fingerprint), revision_id=revision_id)

    def failed(self):
        one = pb.Worker()
        one.CopyFrom(self.FAILED)
        one.revision_id = "g"
        return one

    def test_a_content_that_is_there_stays(self):
        assert self.revision_id(self.content("g"), self.content("g")) == "g"

    def test_one_that_failed_gets_new_workers_with_each_load_request(self):
        same = self.content("g"), self.content("g"), self.failed()

        assert self.revision_id(*same) not in ("", "g")
        assert self.revision_id(*same) != self.revision_id(*same, id_="other")

    def test_one_that_was_renewed_and_is_fine_stays_so(self):
        assert self.revision_id(self.content("g"), self.content("renewed")) == "renewed"

    def test_another_content_is_its_own(self):
        found, there = self.content("h", "other"), self.content("g")

        assert self.revision_id(found, there, self.failed()) == "h"
