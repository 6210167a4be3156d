"""A cache as devices have it, with the processor in the device's place: to the bit the host's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.language.devices import CPU, on_a_device
from support.speech import tiny_whisper

from penstock.errors import ArtifactUnusable
from penstock.exporting.export import Order, export
from penstock.language.manifest import read_manifest
from penstock.language.options import DecodingOptions
from penstock.language.rebuild import Rebuild
from penstock.workers.language.answer import Answer
from penstock.workers.language.cache.cache import Layout
from penstock.workers.language.cache.device import DeviceCache
from penstock.workers.language.engine import Engine
from penstock.workers.language.pipeline import Pipeline
from penstock.workers.language.stage import Stage
from penstock.workers.language.structured import Structured
from penstock.workers.loading.rebuild_trial import WORKERS, tried

SLOTS, CAPACITY = 4, 48
ROOM = SLOTS, CAPACITY
PROMPTS = [[9, 80, 33], [77], list(range(100, 125)), [5, 5, 5, 9, 9, 200, 31]]

slot = st.integers(0, SLOTS - 1)
changes = st.lists(
    st.one_of(
        st.tuples(st.just("read"), slot, st.integers(1, 9)),
        st.tuples(st.just("grow"), slot, st.integers(1, SLOTS)),
        st.tuples(st.just("move"), slot, slot),
        st.tuples(st.just("swap"), slot, slot),
    ),
    max_size=25,
)


class Pair:
    """The same stage with both kinds of cache: what is done with one is done with the other."""

    def __init__(self, directory, number):
        manifest = read_manifest(directory)
        self._host = Stage.open(directory, manifest, number, ROOM, CPU)
        self._device = on_a_device(directory, manifest, number, ROOM)
        self._begins = number == 0
        self.begin(0)

    def begin(self, seed):
        self._chance = np.random.default_rng(seed)
        self._lengths = [0] * SLOTS

    def read(self, slot, count):
        self._step(slot, 1, count)

    def grow(self, slot, rows):
        self._step(slot, min(rows, SLOTS - slot), 1)

    def move(self, source, target):
        for one in (self._host, self._device):
            one.move(source, target, self._lengths[source])
        self._lengths[target] = self._lengths[source]

    def swap(self, one, other):
        length = max(self._lengths[one], self._lengths[other])
        for stage in (self._host, self._device):
            stage.swap(one, other, length)
        lengths = self._lengths
        lengths[one], lengths[other] = lengths[other], lengths[one]

    def hold(self):
        for slot, length in enumerate(self._lengths):
            found = [stage.cached(slot, length) for stage in (self._host, self._device)]
            for host, device in zip(*found, strict=True):
                assert np.array_equal(host, device)

    def _step(self, slot, rows, count):
        starts = self._lengths[slot : slot + rows]
        if max(starts) + count > CAPACITY:
            return
        shape = rows, count
        columns = (
            self._chance.integers(200, size=shape)
            if self._begins
            else self._chance.standard_normal((*shape, self._host.width), np.float32)
        )
        wanted = np.array([[row, count - 1] for row in range(rows)])
        made = [
            stage.step(columns, np.array(starts), wanted, slot)
            for stage in (self._host, self._device)
        ]
        assert np.array_equal(*made)
        for row in range(rows):
            self._lengths[slot + row] += count


@pytest.fixture(scope="module", params=[0, 1], ids="stage {}".format)
def pair(versions, request):
    return Pair(versions[2], request.param)


@settings(max_examples=60, deadline=None)
@given(changes=changes, seed=st.integers(0, 99))
def test_whatever_is_done_both_have_the_same(pair, changes, seed):
    pair.begin(seed)
    for what, *arguments in changes:
        getattr(pair, what)(*arguments)

    pair.hold()


def test_answers_are_those_that_the_host_gives(versions):
    directory, manifest = versions[2], read_manifest(versions[2])
    stages = [on_a_device(directory, manifest, number, ROOM) for number in range(2)]
    device = Pipeline(manifest, stages, SLOTS, Structured(directory, manifest))

    host = Pipeline.open(directory, manifest, *ROOM, threads=1)

    assert _logs(device) == _logs(host)


def test_how_a_lost_cache_comes_back_is_tried_on_the_device(versions):
    stage = on_a_device(versions[1], read_manifest(versions[1]), 0, ROOM)
    columns = np.random.default_rng(0).integers(200, size=(4, CAPACITY))

    trial = WORKERS._replace(most=CAPACITY)

    assert tried(stage, columns, trial) is Rebuild.PREFILL


def test_what_slots_hear_goes_along(tmp_path):
    folder = tiny_whisper.write_folder(tmp_path / "f", tiny_whisper.Shape())
    manifest = export(folder, Order(tmp_path / "1"), lambda *_: None)
    host = Stage.open(tmp_path / "1", manifest, 0, ROOM, CPU)
    device = on_a_device(tmp_path / "1", manifest, 0, ROOM)
    chance = np.random.default_rng(3)
    sounds = [chance.uniform(-1, 1, 4000).astype(np.float32) for _ in range(2)]

    found = []
    for stage in (host, device):
        stage.hear(0, sounds[0])
        stage.hear(2, sounds[1])
        stage.swap(0, 2, 0)
        stage.move(2, 3, 0)
        tokens, wanted = np.ones((SLOTS, 2), np.int64), np.array([[row, 1] for row in range(4)])
        made = stage.step(tokens, np.zeros(SLOTS, np.int64), wanted)
        found.append([made, *(part for slot in range(SLOTS) for part in stage.cached(slot, 2))])

    for one, other in zip(*found, strict=True):
        assert np.array_equal(one, other)
    logits = found[0][0]
    assert np.array_equal(logits[2], logits[3])
    assert not np.array_equal(logits[0], logits[2])


def test_its_bytes_are_counted_with_the_slot_that_swaps_others():
    cache = DeviceCache(
        Layout(SLOTS, {"keys_0": (2, CAPACITY, 8)}, {"heard_keys_0": (2, 5, 8)}), CPU
    )

    one = 4 * (2 * CAPACITY * 8 + 2 * 5 * 8)

    assert cache.layout.slot_bytes == one
    assert cache.nbytes == (SLOTS + 1) * one


def test_a_cache_that_a_device_has_no_memory_for_says_what_to_do():
    layout = Layout(256, {"keys_0": (1 << 20, 1 << 20, 128)}, {})

    with pytest.raises(ArtifactUnusable, match=r"lower parameters\['slots'\]"):
        DeviceCache(layout, CPU)


def _logs(model):
    options = DecodingOptions(max_tokens=12, ignore_end=True)
    drawn = DecodingOptions(max_tokens=9, ignore_end=True, temperature=1.3, seed=3)
    answers = [Answer(list(prompt), one) for one in (options, drawn) for prompt in PROMPTS]
    engine = Engine(model, (), 7)
    waiting = list(answers)
    while waiting or not engine.is_idle:
        if waiting and engine.room:
            engine.admit(waiting.pop(0))
        engine.step()
    return [answer.log for answer in answers]
