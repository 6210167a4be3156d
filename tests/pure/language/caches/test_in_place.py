"""What must be true of a device is tried when a stage is loaded: whatever is wrong is refused."""

import numpy as np
import pytest
from support.language.devices import CPU, on_a_device

from penstock.errors import ArtifactUnusable
from penstock.language.manifest import read_manifest
from penstock.workers.language.cache.proof import prove_in_place
from penstock.workers.language.stage import Stage

COLUMNS = np.ones((1, 3), np.int64)
SLOTS = 3


class Faulty:
    """A stage that does as it should."""

    def __init__(self, stage):
        self.stage, self.capacity = stage, stage.capacity

    def __getattr__(self, name):
        return getattr(self.stage, name)


class WritesNothing(Faulty):
    """Its results are put where nobody looks."""

    def step(self, columns, start, wanted, slot=0):
        kept = self.stage.cached(slot, self.capacity)
        made = self.stage.step(columns, start, wanted, slot)
        arrays = self.stage._cache.kept.values()
        for array, part in zip(arrays, kept, strict=True):
            array[slot] = part
        return made


class WritesElsewhere(Faulty):
    """It writes in the first slot as well."""

    def step(self, columns, start, wanted, slot=0):
        self.stage.step(columns, start, wanted, 0)
        return self.stage.step(columns, start, wanted, slot)


class ForgetsColumns(Faulty):
    """It begins anew with each step."""

    def step(self, columns, start, wanted, slot=0):
        made = self.stage.step(columns, start, wanted, slot)
        self.stage.step(columns + 4 + start[0], np.zeros_like(start), wanted, slot)
        return made


class WritesAhead(Faulty):
    """It writes a column that nobody has asked for."""

    def step(self, columns, start, wanted, slot=0):
        more = np.concatenate([columns, columns[:, :1]], axis=1)
        return self.stage.step(more[:, : self.capacity - start[0]], start, wanted, slot)


class MakesNoNumbers(Faulty):
    """Its keys and values are none."""

    def step(self, columns, start, wanted, slot=0):
        made = self.stage.step(columns, start, wanted, slot)
        next(iter(self.stage._cache.kept.values()))[slot, 0, start[0], 0] = np.nan
        return made


class DoesNotSwap(Faulty):
    """Slots stay as they are."""

    def swap(self, one, other, length):
        pass


class ComputesOneRow(Faulty):
    """Several are too much."""

    def step(self, columns, start, wanted, slot=0):
        if len(columns) > 1:
            raise RuntimeError("cuDNN is unavailable\nand more lines")
        return self.stage.step(columns, start, wanted, slot)


FAULTS = {
    WritesNothing: "what was computed is not there",
    WritesElsewhere: "to another slot",
    ForgetsColumns: "to other columns than its own",
    WritesAhead: "to other columns than its own",
    MakesNoNumbers: "what was computed is not there",
    DoesNotSwap: "slots cannot be exchanged",
    ComputesOneRow: r"does not run on this device.*KIND_CPU \(cuDNN is unavailable\)$",
}


@pytest.fixture
def stage(versions):
    directory = versions[1]
    return Stage.open(directory, read_manifest(directory), 0, (SLOTS, 8), CPU)


@pytest.mark.parametrize(("fault", "message"), FAULTS.items(), ids=lambda one: str(one)[:40])
def test_a_device_that_does_otherwise_is_refused(fault, message, stage):
    with pytest.raises(ArtifactUnusable, match=message):
        prove_in_place(fault(stage), COLUMNS, SLOTS)


@pytest.mark.parametrize("slots", [1, 2, SLOTS])
@pytest.mark.parametrize("number", [0, 1])
def test_one_that_does_as_it_should_is_not(number, slots, versions):
    directory = versions[2]
    stage = on_a_device(directory, read_manifest(directory), number, (slots, 8))
    columns = COLUMNS if number == 0 else np.ones((1, 3, stage.width), np.float32)

    prove_in_place(stage, columns, slots)


def test_a_capacity_of_fewer_columns_is_tried_by_the_first_answer(versions):
    stage = on_a_device(versions[1], read_manifest(versions[1]), 0, (1, 2))

    prove_in_place(stage, COLUMNS, 1)
