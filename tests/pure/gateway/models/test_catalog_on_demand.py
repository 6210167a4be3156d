"""A catalog where models are loaded by the first request for them."""

from dataclasses import replace

import pytest
from support.catalogs import FAILED, LOADING, catalog, ready, refusal, seen
from support.records import (
    placement,
    worker,
)

from penstock.errors import ModelNotFound, ModelNotReady
from penstock.gateway.models.catalog import Catalog, ModelUnloaded
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.snapshot import VersionId


class TestOnDemand:
    def catalog(self, *versions, available=("m",), load_requests=None, **facts):
        made = Catalog()
        found = seen(*versions, **facts)
        scheduler = pb.Scheduler(id="s", control_mode="on-demand")
        made.update(
            replace(
                found,
                schedulers={"s": scheduler},
                available=frozenset(available),
                load_requests=load_requests or {},
            )
        )
        return made

    def test_a_model_that_is_not_loaded_is_to_be_loaded(self):
        told = refusal(ModelUnloaded, self.catalog().served, "m", "")

        assert told == "Request for unknown model: 'm' is being loaded"

    @pytest.mark.parametrize("version", ["", "1"])
    def test_one_that_is_being_loaded_is_waited_for(self, version):
        """No worker has seen its artifact yet."""
        record, _, process = ready(1, **LOADING)

        some = self.catalog((record, {}, process))

        assert some.lacks("m", 1)
        with pytest.raises(ModelUnloaded):
            some.served("m", version)
        with pytest.raises(ModelUnloaded):
            some.described("m", version)

    def test_one_that_lacks_room_is_waited_for(self):
        record, signatures, _ = ready(1)
        record.stages[0].artifact_bytes = 1 << 50

        some = self.catalog((record, signatures, worker(placement(model="other"))))

        assert some.states[VersionId("m", 1)].crowded
        assert some.lacks("m", 0)

    def test_one_that_cannot_be_loaded_is_not(self):
        with pytest.raises(ModelNotReady):
            self.catalog(ready(1, **FAILED)).served("m", "")

    def test_one_that_takes_requests_is_served(self):
        some = self.catalog(ready(1))

        assert some.served("m", "").ref.version == 1
        assert not some.lacks("m", 0)
        assert list(some.used_s) == ["m"]

    def test_a_version_that_there_is_not_is_unknown(self):
        assert "'m' version 2 is not found" in refusal(
            ModelNotFound, self.catalog(ready(1)).served, "m", "2"
        )

    def test_a_model_that_nobody_offers_is_unknown(self):
        assert "'n' is not found" in refusal(ModelNotFound, self.catalog().served, "n", "")

    def test_one_whose_files_came_with_its_load_request_can_come_back(self):
        load_request = pb.LoadRequest(model="n", unload=True, files=[pb.File(path="1/x")])

        assert self.catalog(load_requests={"n": load_request}).lacks("n", 0)

    def test_in_other_modes_nothing_is_loaded_by_a_request(self):
        some = catalog()
        some.update(replace(seen(), available=frozenset({"m"})))

        assert "'m' is not found" in refusal(ModelNotFound, some.served, "m", "")

    def test_the_mode_is_remembered_while_no_scheduler_lives(self):
        some = self.catalog()
        some.update(replace(seen(schedulers=()), available=frozenset({"m"})))

        assert some.mode == "on-demand"
