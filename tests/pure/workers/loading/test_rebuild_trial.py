"""The trial of rebuilding: what a stage does to the bit is seen, whichever way it goes wrong."""

import dataclasses

import numpy as np
import pytest
from support.language.devices import CPU
from support.models import tiny_language

from penstock.exporting.export import Order, export
from penstock.language.manifest import read_manifest
from penstock.language.rebuild import Rebuild, weakest
from penstock.protos import cluster_pb2 as pb
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.workers.language.runtime import LanguageRuntime
from penstock.workers.language.stage import Stage, numeric_domain
from penstock.workers.loading.facts import language_facts
from penstock.workers.loading.rebuild_trial import WORKERS, rebuild_here, tried

ELSEWHERE = "another processor"
ROOM = 4, 64


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    path = tmp_path_factory.mktemp("trial")
    export(tiny_language.write_folder(path / "f"), Order(path / "1", 2), lambda *_: None)
    return path / "1"


@pytest.fixture(params=[0, 1], ids="stage {}".format)
def stage(version, request):
    return Stage.open(version, read_manifest(version), request.param, ROOM, CPU)


@pytest.fixture
def columns(stage):
    chance, shape = np.random.default_rng(0), (4, WORKERS.most)
    hidden = chance.standard_normal((*shape, stage.width), np.float32)
    return chance.integers(200, size=shape) if stage._begins else hidden


class Faulty:
    """A stage that makes a number another one in its last bit where *when* says so."""

    def __init__(self, stage, when, *, cache=False):
        self._stage, self._when, self._cache = stage, when, cache
        self.steps = 0

    def step(self, columns, start, wanted, slot=0):
        made = self._stage.step(columns, start, wanted, slot)
        self.steps += 1
        if made.size and self._when(*columns.shape[:2], self.steps):
            array = next(iter(self._stage._cache.kept.values())) if self._cache else made
            place = array[slot + len(columns) - 1, 0, start[-1]] if self._cache else made
            place.flat[-1] = np.nextafter(place.flat[-1], np.float32(9))
        return made

    def cached(self, slot, length):
        return self._stage.cached(slot, length)


FAULTS = {
    "none": (lambda _rows, _columns, _n: False, Rebuild.PREFILL),
    "more columns": (lambda _rows, columns, _n: columns > 1, Rebuild.REPLAY),
    "seven columns": (lambda _rows, columns, _n: columns == 7, Rebuild.REPLAY),
    "as many columns as are read in a step": (
        lambda _rows, columns, _n: columns > 50,
        Rebuild.REPLAY,
    ),
    "more rows": (lambda rows, _columns, _n: rows > 1, Rebuild.NONE),
    "four rows": (lambda rows, _columns, _n: rows == 4, Rebuild.NONE),
    "now and then": (lambda _rows, columns, n: columns > 1 and n % 3 == 0, Rebuild.NONE),
}


@pytest.mark.parametrize("cache", [False, True], ids=["what comes out", "cache"])
@pytest.mark.parametrize(("when", "expected"), FAULTS.values(), ids=FAULTS)
def test_a_last_bit_that_differs_is_seen(when, expected, cache, stage, columns):
    assert tried(Faulty(stage, when, cache=cache), columns, WORKERS) == expected


def test_the_weakest_counts_and_what_nobody_knows_is_nothing():
    assert weakest(["prefill", "replay"]) is Rebuild.REPLAY
    assert weakest(["replay", "none", "prefill"]) is Rebuild.NONE
    assert weakest(["prefill", ""]) is weakest([]) is Rebuild.NONE


class Counted:
    """A stage that counts what it is asked."""

    def __init__(self, stage):
        self._stage = stage
        self.steps = 0

    def step(self, *arguments):
        self.steps += 1
        return self._stage.step(*arguments)

    def __getattr__(self, name):
        return getattr(self._stage, name)


def _loaded(version, number, **manifest):
    runtime = LanguageRuntime.open(version / f"shard-{number}.onnx", ModelConfig(), CPU)
    runtime.stage = Counted(runtime.stage)
    runtime.manifest = dataclasses.replace(runtime.manifest, **manifest)
    return runtime


@pytest.mark.parametrize("number", [0, 1])
def test_a_worker_on_another_processor_tries_its_stage(number, version):
    runtime = _loaded(version, number, proved_on=ELSEWHERE)
    record = pb.Worker()
    facts = language_facts(runtime, None, record)

    assert runtime.stage.steps > 3 * WORKERS.columns
    assert (runtime.rebuild, facts.rebuild) == (Rebuild.PREFILL, "prefill")
    assert (record.rebuild, record.numeric_domain) == ("prefill", numeric_domain(1))


def test_another_number_of_threads_is_another_place(version):
    manifest = read_manifest(version)

    assert manifest.proved_on.startswith(numeric_domain(1).rpartition(",")[0])
    assert numeric_domain(1) != numeric_domain(2)


@pytest.mark.parametrize(
    ("exported", "kept", "expected"),
    [
        ("prefill", "prefill", "prefill"),
        ("prefill", "replay", "replay"),
        ("replay", "prefill", "replay"),
        ("prefill", "none", "none"),
    ],
)
def test_what_another_worker_saw_is_not_tried_again(exported, kept, expected, version):
    runtime = _loaded(version, 0, rebuild=Rebuild(exported), proved_on=ELSEWHERE)
    found = rebuild_here(runtime, kept)

    assert runtime.stage.steps == 0
    assert (found.rebuild, found.seen) == (expected, "")


def test_the_weaker_of_what_is_seen_and_what_the_exporter_saw_counts(version):
    runtime = _loaded(version, 0, rebuild=Rebuild.REPLAY, proved_on=ELSEWHERE)

    assert rebuild_here(runtime, None) == (Rebuild.REPLAY, "prefill")


def test_the_exporters_word_is_good_where_it_was_given(version):
    here = numeric_domain(1)
    for mode in Rebuild:
        runtime = _loaded(version, 0, rebuild=mode, proved_on=here)

        assert rebuild_here(runtime, "none") == (mode, "")
        assert runtime.stage.steps == 0


def test_what_takes_too_long_is_not_proved_and_not_kept(version):
    runtime = _loaded(version, 0, proved_on=ELSEWHERE)

    assert rebuild_here(runtime, None, longest_s=-1.0) == (Rebuild.NONE, "")
    assert runtime.stage.steps == 0


def test_a_stage_with_one_slot_is_tried_alone(version):
    said = ModelConfig()
    said.parameters["slots"].string_value = "1"
    runtime = LanguageRuntime.open(version / "shard-0.onnx", said, CPU)
    runtime.manifest = dataclasses.replace(runtime.manifest, proved_on=ELSEWHERE)

    assert rebuild_here(runtime, None) == (Rebuild.PREFILL, "prefill")
