"""What the module `triton_python_backend_utils` gives to models, and what it refuses them."""

from functools import partial

import numpy as np
import pytest
import torch

from penstock.workers.runtimes.triton_python import backend_utils as utils
from penstock.workers.runtimes.triton_python import metrics
from penstock.workers.runtimes.triton_python.errors import TritonModelException
from penstock.workers.runtimes.triton_python.tensors import Tensor

PLAIN_REQUEST = partial(utils.InferenceRequest, "", 0, [], [], "m")
ON_DEVICE = utils.PreferredMemory(utils.TRITONSERVER_MEMORY_GPU)


@pytest.fixture(autouse=True)
def _no_metrics_yet(monkeypatch):
    monkeypatch.setattr(metrics, "_families", {})


def test_metrics_refuse_what_their_kind_does_not_do():
    kinds = metrics.MetricFamily
    counter = kinds("calls", "so far", kinds.COUNTER).Metric()
    gauge = kinds("level", "a level", kinds.GAUGE).Metric()
    spread = kinds("spread", "of them", kinds.HISTOGRAM)
    histogram = spread.Metric(buckets=[1.0])
    again = kinds("calls", "so far", kinds.COUNTER).Metric()

    counter.increment(2)
    again.increment(1)
    gauge.set(5)
    gauge.increment(-2)

    assert (counter.value(), gauge.value()) == (3.0, 3.0)
    for refused in (
        lambda: counter.increment(-1),
        lambda: counter.set(1),
        lambda: counter.observe(1),
        lambda: gauge.observe(1),
        lambda: histogram.increment(1),
        lambda: histogram.set(1),
        histogram.value,
        spread.Metric,
        lambda: spread.Metric(buckets=[2.0, 1.0]),
        lambda: kinds("level", "a level", kinds.GAUGE).Metric(buckets=[1.0]),
        lambda: kinds("level", "a level", kinds.COUNTER),
    ):
        with pytest.raises(TritonModelException):
            refused()


def test_metrics_keep_to_names_that_can_be_shown():
    family = metrics.MetricFamily("spread", "of them", metrics.MetricFamily.HISTOGRAM)
    metric = family.Metric(labels={"kind": "a"}, buckets=[1.0, 2.0])

    for value in (0.5, 1.0, 1.5, 9.0):
        metric.observe(value)

    assert list(metrics.samples_of(family)) == [
        ("spread_bucket", {"kind": "a", "le": "1.0"}, 2.0),
        ("spread_bucket", {"kind": "a", "le": "2.0"}, 3.0),
        ("spread_bucket", {"kind": "a", "le": "+Inf"}, 4.0),
        ("spread_sum", {"kind": "a"}, 12.0),
        ("spread_count", {"kind": "a"}, 4.0),
    ]
    for name in ("nv_inference_count", "penstock_workers", "no name", ""):
        with pytest.raises(TritonModelException, match="a name has letters"):
            metrics.MetricFamily(name, "", metrics.MetricFamily.GAUGE)
    with pytest.raises(TritonModelException, match="is no label"):
        family.Metric(labels={"no label": "a"}, buckets=[1.0])


def test_tensors_go_by_dlpack_in_host_memory_alone():
    array = np.arange(4, dtype=np.float32)
    array.flags.writeable = False
    given = Tensor("X", array)

    there = Tensor.from_dlpack("Y", np.from_dlpack(given))
    back = Tensor.from_dlpack("Z", given.to_dlpack())

    class OnDevice:
        def __dlpack__(self, **_):
            raise AssertionError

        def __dlpack_device__(self):
            return 2, 0

    assert there.as_numpy().tolist() == back.as_numpy().tolist() == array.tolist()
    with pytest.raises(TritonModelException, match="move it there first, with"):
        Tensor.from_dlpack("D", OnDevice())
    with pytest.raises(TritonModelException, match="TYPE_BYTES tensors cannot be converted"):
        Tensor("T", np.array([b"a"], dtype=np.object_)).to_dlpack()


def test_bfloat16_goes_by_dlpack_only():
    wanted = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)

    given = Tensor.from_dlpack("X", wanted)

    assert given.wire_datatype == "BF16"
    assert torch.equal(torch.from_dlpack(given), wanted)
    with pytest.raises(TritonModelException, match="cannot be converted to NumPy"):
        given.as_numpy()


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: utils.load_model("m"), "load_model is not for models to call"),
        (lambda: utils.unload_model("m"), "unload_model is not for models to call"),
        (lambda: PLAIN_REQUEST(preferred_memory=ON_DEVICE), "take TRITONSERVER_MEMORY_CPU"),
        (lambda: PLAIN_REQUEST().set_release_flags(2), "requests are not scheduled again"),
    ],
    ids=["load", "unload", "memory", "reschedule"],
)
def test_what_cannot_be_is_refused_by_name(ask, words):
    with pytest.raises(TritonModelException, match=words):
        ask()
