"""A request is known by another exactly when the two differ in their ids and their data alone."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clients.infer_requests import add_input, ask, spec
from support.records import known, node, placement, signature, snapshot, version, worker

from penstock.errors import PenstockError
from penstock.gateway.models.catalog import Catalog
from penstock.gateway.requests.reading import CheckCache
from penstock.protos import cluster_pb2 as pb
from penstock.protos import wire
from penstock.protos.grpc_service_pb2 import InferParameter, ModelInferRequest
from penstock.scheduler.requests.checks import admit

ROW = np.arange(4, dtype=np.float32).reshape(1, 4)


class Gateway:
    """A gateway that serves the model "m", as far as requests are checked."""

    def __init__(self, **inputs):
        specs = [spec(name, datatype, -1, 4) for name, datatype in inputs.items()]
        self._signature = signature(specs, [spec("y", "FP32", -1, 2)])
        self.catalog = Catalog()
        self.cache = CheckCache(self.catalog)
        self.publishes()

    def publishes(self, text="max_batch_size: 8"):
        record = version(text=text)
        placed = placement(fingerprint=record.stages[0].fingerprint)
        self.catalog.update(
            snapshot(
                [record],
                workers=[worker(placed, pb.WORKER_STATE_READY)],
                signatures=known(record, self._signature),
                nodes=[node("n")],
            )
        )

    def check(self, request):
        """What a gateway does with a request that it does not know."""
        parts = wire.take_apart(request.SerializeToString())
        served = self.catalog.served(request.model_name, request.model_version)
        admitted = admit(request, served.rules)
        self.cache.remember(parts, request, served, admitted)
        return served, admitted

    def find(self, request):
        return self.cache.find(wire.take_apart(request.SerializeToString()))


@pytest.fixture
def gateway():
    return Gateway(x="FP32")


def test_a_request_with_another_id_and_other_data_is_known(gateway):
    served, admitted = gateway.check(ask(("x", ROW), request_id="one"))

    found = gateway.find(ask(("x", ROW + 1), request_id="other"))

    assert found.served is served
    assert found.admitted == admitted
    assert found.request.id == ""
    assert not found.request.raw_input_contents


def wanted(request):
    request.outputs.add(name="y")
    return request


@pytest.mark.parametrize(
    "request_",
    [
        ask(("x", np.concatenate([ROW, ROW]))),
        ask(("x", ROW[:, :3])),
        ask(("x", ROW.astype(np.float64))),
        ask(("z", ROW)),
        ask(("x", ROW), ("x", ROW)),
        wanted(ask(("x", ROW))),
        ask(("x", ROW), priority=InferParameter(int64_param=1)),
    ],
    ids=["rows", "shape", "datatype", "name", "inputs", "outputs", "parameters"],
)
def test_another_request_is_not(gateway, request_):
    gateway.check(ask(("x", ROW)))

    assert gateway.find(request_) is None


@pytest.mark.parametrize("size", [0, 15, 17])
def test_nor_one_whose_data_is_of_another_size(gateway, size):
    gateway.check(ask(("x", ROW)))
    damaged = ask()
    add_input(damaged, "x", bytes(size), datatype="FP32", shape=ROW.shape)

    assert gateway.find(damaged) is None


def test_nor_one_without_data(gateway):
    gateway.check(ask(("x", ROW)))
    empty = ask()
    add_input(empty, "x", datatype="FP32", shape=ROW.shape)

    assert gateway.find(empty) is None


def test_text_is_checked_each_time():
    gateway = Gateway(x="BYTES")
    text = ask()
    add_input(text, "x", b"\x01\0\0\0a" * 4, datatype="BYTES", shape=(1, 4))
    gateway.check(text)

    assert gateway.find(text) is None


def test_typed_contents_are_rewritten_each_time(gateway):
    typed = ask()
    add_input(typed, "x", datatype="FP32", shape=ROW.shape)
    typed.inputs[0].contents.fp32_contents[:] = ROW[0]
    gateway.check(typed)

    assert gateway.find(typed) is None


def test_parameters_are_read_each_time(gateway):
    asked = ask(("x", ROW), mine=InferParameter(string_param="a"))
    gateway.check(asked)

    assert gateway.find(asked) is None


SHAPES = st.sampled_from([(1, 4), (2, 4), (1, 3), (4,), (9, 4), (-1, 4)])
INPUTS = st.tuples(
    st.sampled_from("xz"),
    st.sampled_from(["FP32", "INT32", "FP64"]),
    SHAPES,
    st.sampled_from([None, 0, 12, 16, 32, 64]),
)
PARAMETERS = st.sampled_from(["", "mine", "priority", "triton_x"])


def made(inputs, parameter, output):
    """A request; each input is its name, datatype, shape, and bytes of data (None for none)."""
    request = ask()
    for name, datatype, shape, size in inputs:
        data = None if size is None else bytes(size)
        add_input(request, name, data, datatype=datatype, shape=shape)
    if parameter:
        request.parameters[parameter].int64_param = 1
    if output:
        request.outputs.add(name=output)
    return request


REQUESTS = st.builds(
    made, st.lists(INPUTS, min_size=1, max_size=2), PARAMETERS, st.sampled_from(["", "y", "q"])
)


@given(st.lists(st.one_of(REQUESTS, st.just(ask(("x", ROW)))), max_size=6), REQUESTS)
def test_whoever_is_known_would_pass_the_same_checks(seen, last):
    gateway = Gateway(x="FP32")
    for request in seen:
        with contextlib.suppress(PenstockError):
            gateway.check(request)

    for request in (*seen, last):
        found = gateway.find(request)
        if found is not None:
            assert (found.served, found.admitted) == gateway.check(request)


def test_a_version_that_is_named_is_another(gateway):
    gateway.check(ask(("x", ROW)))
    named = ask(("x", ROW))
    named.model_version = "1"

    assert gateway.find(named) is None
    served, _ = gateway.check(named)
    assert gateway.find(named).served is served


def test_nothing_is_known_of_a_model_that_was_published_anew(gateway):
    gateway.check(ask(("x", ROW)))

    gateway.publishes("max_batch_size: 4")

    assert gateway.find(ask(("x", ROW))) is None


def test_a_model_that_is_asked_for_counts_as_used(gateway):
    gateway.check(ask(("x", ROW)))
    gateway.catalog.used_s.clear()

    gateway.find(ask(("x", ROW)))

    assert list(gateway.catalog.used_s) == ["m"]


def test_a_known_request_is_not_changed_by_the_one_it_was_met_in(gateway):
    first = ask(("x", ROW), request_id="one")
    gateway.check(first)

    first.inputs[0].name = "z"

    assert gateway.find(ask(("x", ROW))).request == ModelInferRequest(
        model_name="m", inputs=ask(("x", ROW)).inputs
    )
