"""Inputs go to a device from page-locked memory; here the CPU stands for the device."""

import numpy as np
import pytest
from support.models.onnx_models import DATATYPES, write_add_sub, write_identities

from penstock.protos.model_config_pb2 import ModelConfig
from penstock.tensors import NUMPY_TYPES
from penstock.workers.runtimes.onnx_runtime import OnnxRuntime
from penstock.workers.runtimes.pinned import UNPINNED, PinnedBuffers, Pinning, cuda_pinning
from penstock.workers.runtimes.runtime import DeviceRef, InputRejected

CPU = DeviceRef("cpu", 0, 1)
NUMBERS = [datatype for datatype in DATATYPES if datatype != "BYTES"]


class Locked:
    """Counts what is locked."""

    def __init__(self, most=1 << 40):
        self.most = most
        self.sizes = {}
        self.asked = 0

    def lock(self, address, size):
        self.asked += 1
        if sum(self.sizes.values()) + size > self.most:
            return False
        self.sizes[address] = size
        return True

    def unlock(self, address):
        del self.sizes[address]

    def buffers(self, **options):
        return PinnedBuffers(Pinning(self.lock, self.unlock), **options)


def bound(artifact, buffers):
    """A session that is run as on a device."""
    plain = OnnxRuntime.open(artifact, CPU, ModelConfig())
    return OnnxRuntime(plain._session, plain.signature, buffers=buffers)


@pytest.mark.parametrize("pinning", [Locked(), Locked(0)], ids=["locked", "refused"])
def test_numbers_of_all_kinds_come_back_as_they_went(tmp_path, pinning):
    entry = write_identities(tmp_path, "m", NUMBERS, batch=True)
    runtime = bound(entry / "1" / "model.onnx", pinning.buffers())
    for count in (6, 600, 2, 0):
        request = {
            f"in_{datatype.lower()}": np.arange(2 * count).astype(NUMPY_TYPES[datatype])[::2][None]
            for datatype in NUMBERS
        }

        answer = runtime.run(request, [f"out_{datatype.lower()}" for datatype in NUMBERS])

        for datatype in NUMBERS:
            given, got = request[f"in_{datatype.lower()}"], answer[f"out_{datatype.lower()}"]
            assert (got.dtype, got.tolist()) == (given.dtype, given.tolist())
    assert not runtime.any_thread


def test_what_a_request_has_wrong_is_its_own_fault(tmp_path):
    runtime = bound(write_add_sub(tmp_path) / "1" / "model.onnx", Locked().buffers())
    request = {"INPUT0": np.ones((1, 16), np.int32), "INPUT1": np.ones((1, 15), np.int32)}

    with pytest.raises(InputRejected, match="index: 1 Got: 15 Expected: 16"):
        runtime.run(request, ["OUTPUT0"])


class TestBuffers:
    def test_one_is_used_again_and_grows(self):
        locked = Locked()
        buffers = locked.buffers()

        places = {buffers.copied("x", np.ones(size, np.uint8)).ctypes.data for size in (9, 70, 7)}
        large = buffers.copied("x", np.ones(1 << 20, np.uint8))

        assert len(places) == 1
        assert list(locked.sizes) == [large.ctypes.data]
        assert list(locked.sizes.values()) == [1 << 20]

    def test_those_of_two_inputs_are_apart(self):
        buffers = Locked().buffers()
        x, y = (buffers.copied(name, np.full(4, value)) for name, value in (("x", 1), ("y", 2)))

        assert (x.tolist(), y.tolist()) == ([1] * 4, [2] * 4)

    def test_they_lock_no_more_than_they_may(self):
        locked = Locked()
        buffers = locked.buffers(most_bytes=1 << 17)
        large = np.ones(1 << 18, np.uint8)

        assert buffers.copied("x", large) is large
        assert buffers.copied("y", np.ones(1, np.uint8)).ctypes.data in locked.sizes
        assert sum(locked.sizes.values()) <= 1 << 17

    def test_a_machine_that_locks_nothing_is_asked_once(self):
        locked = Locked(0)
        buffers = locked.buffers()
        for _ in range(3):
            buffers.copied("x", np.ones(9, np.uint8))

        assert locked.asked == 1

    def test_without_cuda_there_is_no_way_to_lock(self):
        one = np.ones(3)

        assert cuda_pinning() is None
        assert PinnedBuffers(UNPINNED).copied("x", one) is one
