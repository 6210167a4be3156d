"""Requests of sequences at the gateway: what each is part of, and in which order they go in."""

import struct

import pytest
from support.clients.infer_requests import ask, zeros
from support.probe import job

from penstock.errors import InvalidRequest
from penstock.gateway.delivery.sequence_order import SequenceOrder
from penstock.gateway.requests.kinds.sequences import controls_of, turn_of
from penstock.models.sequencing import Control, SequencePlan, SequenceTerms
from penstock.protos.grpc_service_pb2 import InferParameter, ModelInferRequest
from penstock.scheduler.jobs.types import Turn

TERMS = SequenceTerms(4, 1000, b"")


def plan(*controls):
    return SequencePlan(TERMS, controls, {}, (), ())


def corrid(datatype):
    return Control("ID", "CORRID", datatype, (1, 1), ())


def request(sequence_id=None, **flags):
    parameters = {key: InferParameter(bool_param=value) for key, value in flags.items()}
    if sequence_id is not None:
        kind = "string_param" if isinstance(sequence_id, str) else "int64_param"
        parameters["sequence_id"] = InferParameter(**{kind: sequence_id})
    return ask(("x", zeros(1, 16)), **parameters)


def told(some_plan, made):
    sent = ModelInferRequest.FromString(controls_of(turn_of(made, 1, some_plan), some_plan))
    names = [entry.name for entry in sent.inputs]
    return dict(zip(names, sent.raw_input_contents, strict=True))


@pytest.mark.parametrize(
    ("flags", "letter"),
    [
        ({}, "m"),
        ({"sequence_start": True}, "f"),
        ({"sequence_end": True}, "l"),
        ({"sequence_start": True, "sequence_end": True}, "b"),
        ({"sequence_start": False, "sequence_end": False}, "m"),
    ],
)
def test_a_request_says_where_in_its_sequence_it_is(flags, letter):
    assert turn_of(request(7, **flags), 1, plan()).flag == letter


@pytest.mark.parametrize(
    ("given", "sequence"), [(7, "i7"), (-1, f"i{(1 << 64) - 1}"), ("7", "s7"), ("ö x", "sö x")]
)
def test_integers_and_strings_are_told_apart(given, sequence):
    assert turn_of(request(given), 1, plan()).sequence == sequence


def test_callers_have_sequences_of_their_own():
    names = {
        turn_of(request(given), 1, plan(), caller).name
        for given in (7, "7", "7@a")
        for caller in ("", "a", "b")
    }

    assert len(names) == 9
    assert turn_of(request(7), 1, plan()).name == "i7"


@pytest.mark.parametrize("given", [None, 0, ""])
def test_a_request_without_a_sequence_is_refused(given):
    with pytest.raises(InvalidRequest, match="non-zero or non-empty correlation ID"):
        turn_of(request(given), 1, plan())


def test_a_long_string_is_refused():
    assert turn_of(request("ö" * 64), 1, plan()).id == "ö" * 64
    with pytest.raises(InvalidRequest, match="at most 128 bytes"):
        turn_of(request("ö" * 64 + "x"), 1, plan())


def test_several_rows_are_refused_first():
    with pytest.raises(InvalidRequest, match="must specify batch-size 1"):
        turn_of(request(), 2, plan())


def test_controls_say_it_in_the_models_own_values():
    some = plan(
        Control("S", "START", "INT32", (1, 1), (b"no", b"yes")),
        Control("E", "END", "FP32", (1, 1), (b"no", b"yes")),
        Control("R", "READY", "BOOL", (1, 1), (b"no", b"yes")),
    )

    assert told(some, request(1, sequence_start=True)) == {
        "S": b"yes",
        "E": b"no",
        "R": b"yes",
    }


@pytest.mark.parametrize(
    ("datatype", "given", "raw"),
    [
        ("UINT64", -1, struct.pack("<Q", (1 << 64) - 1)),
        ("INT64", -5, struct.pack("<q", -5)),
        ("UINT32", 5, struct.pack("<I", 5)),
        ("INT32", 5, struct.pack("<i", 5)),
        ("BYTES", "ab", b"\2\0\0\0ab"),
        ("BYTES", 12, b"\2\0\0\x0012"),
    ],
)
def test_the_correlation_id_has_the_models_datatype(datatype, given, raw):
    assert told(plan(corrid(datatype)), request(given)) == {"ID": raw}


@pytest.mark.parametrize(("datatype", "given"), [("UINT64", "a"), ("INT32", 1 << 31)])
def test_an_id_that_the_model_cannot_hold_is_refused(datatype, given):
    with pytest.raises(InvalidRequest, match=f"is no {datatype}, which the model takes"):
        told(plan(corrid(datatype)), request(given))


class Accepting:
    """A queue that says of a job that it was accepted when its test does."""

    def __init__(self):
        self.order = SequenceOrder(self)
        self.sent = []
        self._on_outcome = {}

    def submit(self, job, limits, answered, in_flight):
        del limits, in_flight
        self.sent.append(job.id)
        self._on_outcome[job.id] = answered

    def enter(self, id_, sequence="s"):
        self.order.submit(self._job(id_, sequence), None, lambda _: None)

    def accept(self, id_):
        self._on_outcome[id_](None)

    def give_up(self, id_, sequence="s"):
        self.order.leave(self._job(id_, sequence))

    def _job(self, id_, sequence):
        return job(id_, turn=Turn(sequence, starts=False, ends=False, terms=TERMS))


def test_each_waits_until_the_one_before_it_is_in():
    queue = Accepting()
    for who in "abc":
        queue.enter(who)
    assert queue.sent == ["a"]

    queue.accept("a")
    assert queue.sent == ["a", "b"]
    queue.accept("b")
    queue.accept("c")
    assert queue.sent == ["a", "b", "c"]
    assert len(queue.order) == 0


def test_only_the_first_is_sent_again():
    queue = Accepting()
    for who in "aba":
        queue.enter(who)
    queue.enter("b")

    assert queue.sent == ["a", "a"]


def test_one_that_gives_up_lets_the_others_go_on():
    queue = Accepting()
    for who in "abc":
        queue.enter(who)
    queue.give_up("b")
    queue.accept("a")
    queue.give_up("a")

    assert queue.sent == ["a", "c"]


def test_sequences_do_not_wait_for_each_other():
    queue = Accepting()
    queue.enter("a", "one")
    queue.enter("b", "other")

    assert queue.sent == ["a", "b"]
