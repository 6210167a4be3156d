"""Messages are taken apart as protobuf reads them, and put together as it writes them."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.protos import wire
from penstock.protos.grpc_service_pb2 import InferParameter, ModelInferRequest, ModelInferResponse

NAMES = st.text(max_size=5)
SHAPES = st.lists(st.integers(-1, 2**63 - 1), max_size=3)
RAWS = st.lists(st.binary(max_size=200), max_size=4)
PARAMETERS = st.dictionaries(
    NAMES,
    st.one_of(
        st.builds(InferParameter, bool_param=st.booleans()),
        st.builds(InferParameter, int64_param=st.integers(-(2**63), 2**63 - 1)),
        st.builds(InferParameter, string_param=NAMES),
        st.builds(InferParameter, double_param=st.floats(allow_nan=False)),
    ),
    max_size=2,
)


def tensors(kind):
    return st.lists(st.builds(kind, name=NAMES, datatype=NAMES, shape=SHAPES), max_size=3)


REQUESTS = st.builds(
    ModelInferRequest,
    model_name=NAMES,
    model_version=NAMES,
    id=NAMES,
    parameters=PARAMETERS,
    inputs=tensors(ModelInferRequest.InferInputTensor),
    raw_input_contents=RAWS,
)
RESPONSES = st.builds(
    ModelInferResponse,
    model_name=NAMES,
    id=NAMES,
    parameters=PARAMETERS,
    outputs=tensors(ModelInferResponse.InferOutputTensor),
    raw_output_contents=RAWS,
)


def split_and_parsed(split, message):
    """What *split* makes of the message: the rest, parsed, and the raw contents."""
    rest, raws = split(message.SerializeToString())
    return type(message).FromString(rest), [bytes(raw) for raw in raws]


@given(REQUESTS)
def test_a_request_is_taken_apart_as_protobuf_reads_it(request_):
    head, id_, raws = wire.take_apart(request_.SerializeToString())

    assert [bytes(raw) for raw in raws] == list(request_.raw_input_contents)
    assert id_ == request_.id
    request_.ClearField("raw_input_contents")
    request_.ClearField("id")
    assert ModelInferRequest.FromString(head) == request_


@given(REQUESTS, NAMES, RAWS)
def test_requests_that_differ_in_id_and_data_alone_have_one_head(request_, id_, raws):
    head, _, _ = wire.take_apart(request_.SerializeToString())
    request_.id = id_
    request_.raw_input_contents[:] = raws

    assert wire.take_apart(request_.SerializeToString()).head == head


def test_the_last_of_several_ids_counts():
    one = ModelInferRequest(id="one", model_name="m", raw_input_contents=[b"a"])
    other = ModelInferRequest(id="other")
    nothing = b"\x1a\x00"

    both = one.SerializeToString() + other.SerializeToString()

    assert wire.take_apart(both).id == "other"
    assert wire.take_apart(both + nothing).id == ""
    assert wire.take_apart(both).head == ModelInferRequest(model_name="m").SerializeToString()


@given(RESPONSES)
def test_a_response_is_split_as_protobuf_reads_it(response):
    rest, raws = split_and_parsed(wire.split_response, response)

    assert raws == list(response.raw_output_contents)
    response.ClearField("raw_output_contents")
    assert rest == response


@given(REQUESTS.filter(lambda request_: request_.ByteSize() > 0), st.data())
def test_a_request_that_is_cut_off_is_refused_where_protobuf_refuses_it(request_, data):
    serialized = request_.SerializeToString()
    cut = serialized[: data.draw(st.integers(0, len(serialized) - 1))]

    assert read_by_wire(cut) == read_by_protobuf(cut)


@given(st.binary(max_size=40))
def test_whatever_wire_reads_protobuf_reads_the_same(content):
    found = read_by_wire(content)

    assert found is None or found == read_by_protobuf(content)


def read_by_wire(content):
    try:
        head, id_, raws = wire.take_apart(content)
        found = ModelInferRequest.FromString(head)
        found.id = id_
        return found, [bytes(raw) for raw in raws]
    except (DecodeError, wire.Malformed):
        return None


def read_by_protobuf(content):
    try:
        found = ModelInferRequest.FromString(content)
    except DecodeError:
        return None
    raws = list(found.raw_input_contents)
    found.ClearField("raw_input_contents")
    return found, raws


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x3a", "a number is cut off"),
        (b"\x3a\x80", "a number is cut off"),
        (b"\x3a\x05abcd", "the last field is cut off"),
        (b"\x0a\xff\xff\xff\xff\x0f", "the last field is cut off"),
        (b"\x09\0\0\0", "the last field is cut off"),
        (b"\x0d\0\0\0", "the last field is cut off"),
        (b"\x08", "a number is cut off"),
        (b"\x08" + b"\xff" * 11, "a number is cut off"),
        (b"\x0b", "field of unknown kind 3"),
        (b"\x0f", "field of unknown kind 7"),
        (b"\x1a\x01\xff", "the id is not UTF-8"),
        (b"\x1a\x01\xff\x1a\x00", "the id is not UTF-8"),
    ],
)
def test_damage_is_named(content, words):
    with pytest.raises(wire.Malformed) as caught:
        wire.take_apart(content)

    assert str(caught.value) == words


def test_fields_of_every_kind_are_passed_over():
    number = b"\x98\x06" + wire.varint(2**64 - 1)
    eight, four = b"\x99\x06" + bytes(8), b"\x9d\x06" + bytes(4)

    rest, _, raws = wire.take_apart(number + b"\x3a\x01a" + eight + four + b"\x3a\x00")

    assert rest == number + eight + four
    assert [bytes(raw) for raw in raws] == [b"a", b""]


def test_raw_contents_are_views_of_the_message():
    serialized = ModelInferRequest(raw_input_contents=[b"abc"]).SerializeToString()

    _, _, (raw,) = wire.take_apart(serialized)

    assert raw.obj is serialized


@given(RAWS)
def test_fields_are_written_as_protobuf_writes_them(raws):
    request_ = ModelInferRequest(raw_input_contents=raws)
    response = ModelInferResponse(raw_output_contents=raws)

    written = [b"".join(b"".join(f(raw)) for raw in raws) for f in FIELDS]

    assert written == [request_.SerializeToString(), response.SerializeToString()]


FIELDS = (wire.raw_input_field, wire.raw_output_field)


@example(127)
@example(128)
@given(st.integers(0, 2**64 - 1))
def test_numbers_are_written_as_protobuf_writes_them(number):
    parameter = InferParameter(uint64_param=number)

    assert b"\x28" + wire.varint(number) == parameter.SerializeToString()
