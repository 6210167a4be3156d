"""Which requests are traced, and what is written of them."""

import asyncio
import json
from itertools import count

import pytest

from penstock.errors import InvalidRequest, JobFailed, PenstockError, Unimplemented
from penstock.gateway.operations.tracing import Tracing
from penstock.models.refs import StageRef
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.jobs.types import TRACE
from penstock.scheduler.registry.cluster_settings import Setting

REF, OTHER = StageRef("m", 1, 0), StageRef("other", 1, 0)


@pytest.fixture
def tracing(tmp_path):
    return Changed(tmp_path / "traces")


class Changed(Tracing):
    """Keeps its own settings, as the registry does for all gateways."""

    def __init__(self, file):
        super().__init__(file)
        self.kept = {}
        self.calls = count()

    def change(self, request):
        stamp, own = str(next(self.calls)), dict(self.kept.get(request.model_name, {}))
        for name, values in self.changes(request).items():
            own.pop(name, None)
            if values:
                own[name] = Setting(stamp, values)
        self.kept[request.model_name] = own
        self.use(self.kept)


def change(tracing, model="", **settings):
    """Change settings; None clears one. What they are now, by name."""
    request = pb.TraceSettingRequest(model_name=model)
    for name, value in settings.items():
        entry = request.settings[name]
        if value is not None:
            entry.value.extend(value if isinstance(value, list) else [value])
    tracing.change(request)
    return {name: list(found.value) for name, found in tracing.shown(model).settings.items()}


def chosen(tracing, times, ref=REF):
    """Which of so many requests are traced, by number."""
    return [number for number in range(times) if tracing.begin(ref, "", 0)]


def written(tracing):
    return [json.loads(line) for line in tracing.file.read_text().splitlines()]


def test_nothing_is_traced_until_somebody_wants_it(tracing):
    shown = change(tracing)

    assert not tracing.on
    assert (shown["trace_level"], shown["trace_rate"], shown["trace_count"]) == (
        ["OFF"],
        ["1000"],
        ["-1"],
    )


def test_one_request_of_so_many_is_traced(tracing):
    change(tracing, trace_level="TIMESTAMPS", trace_rate="3")

    assert tracing.on
    assert chosen(tracing, 7) == [0, 3, 6]


def test_no_more_are_traced_than_were_asked_for(tracing):
    change(tracing, trace_level="TIMESTAMPS", trace_rate="1", trace_count="2")

    assert chosen(tracing, 5) == [0, 1]
    assert change(tracing)["trace_count"] == ["0"]


def test_a_model_can_have_settings_of_its_own(tracing):
    change(tracing, trace_level="TIMESTAMPS", trace_rate="2")
    change(tracing, "other", trace_level="OFF")

    assert chosen(tracing, 4) == [0, 2]
    assert chosen(tracing, 4, OTHER) == []
    assert change(tracing, "other", trace_level=None)["trace_level"] == ["TIMESTAMPS"]
    assert chosen(tracing, 4, OTHER) == [0, 2]


def test_a_model_follows_the_general_settings_that_it_has_none_for(tracing):
    change(tracing, "other", trace_rate="3")
    change(tracing, trace_level="TIMESTAMPS", trace_rate="2")

    assert chosen(tracing, 4) == [0, 2]
    assert chosen(tracing, 4, OTHER) == [0, 3]


def test_settings_of_others_do_not_begin_the_count_anew(tracing):
    change(tracing, trace_level="TIMESTAMPS", trace_rate="1", trace_count="2")
    assert chosen(tracing, 3) == [0, 1]

    change(tracing, "other", trace_level="OFF")
    assert chosen(tracing, 3) == []
    change(tracing, trace_count="2")
    assert chosen(tracing, 3) == [0, 1]


def test_a_gateway_without_a_file_leaves_tracing_to_others(tracing):
    change(tracing, trace_level="TIMESTAMPS")
    without = Tracing(None)
    without.use(tracing.kept)

    assert not without.on
    assert without.shown().settings["trace_level"].value == ["TIMESTAMPS"]


def test_a_cleared_setting_has_its_default(tracing):
    change(tracing, trace_level="TIMESTAMPS", trace_rate="3")

    shown = change(tracing, trace_level=None, trace_rate=None)

    assert (shown["trace_level"], shown["trace_rate"]) == (["OFF"], ["1000"])
    assert not tracing.on


@pytest.mark.parametrize(
    ("name", "value", "error", "text"),
    [
        ("trace_level", "TENSORS", Unimplemented, "tensors are never written"),
        ("trace_level", "LOUD", InvalidRequest, "'LOUD' is none of OFF, TIMESTAMPS"),
        ("trace_rate", "0", InvalidRequest, "trace_rate must be at least 1, not 0"),
        ("trace_rate", "often", InvalidRequest, "trace_rate must be one whole number"),
        ("trace_count", ["1", "2"], InvalidRequest, "trace_count must be one whole number"),
        ("trace_file", "/etc/passwd", Unimplemented, "can not be updated through network"),
        ("log_frequency", "5", Unimplemented, "all traces go to one file"),
        ("colour", "blue", InvalidRequest, "there is no trace setting 'colour'"),
    ],
)
def test_what_cannot_be_changes_nothing(tracing, name, value, error, text):
    before = change(tracing)

    with pytest.raises(error, match=text):
        change(tracing, **({"trace_rate": "7"} | {name: value}))

    assert change(tracing) == before


def test_without_a_file_nothing_can_be_traced():
    with pytest.raises(InvalidRequest, match="start the gateway with --trace-file FILE"):
        change(Changed(None), trace_level="TIMESTAMPS")


async def test_a_trace_has_the_workers_steps_and_the_client_does_not_see_them(tracing):
    change(tracing, trace_level="TIMESTAMPS", trace_rate="1")
    steps = [{"step": "w", "queue_us": 5, "work_us": 7}]
    response = pb.ModelInferResponse(model_name="m", id="i", raw_output_contents=[b"xy"])
    plain = response.SerializeToString()
    response.parameters[TRACE].string_param = json.dumps(steps)

    async def answering():
        return response.SerializeToString()

    reply = await tracing.begin(REF, "i", 17).follow(answering())

    assert pb.ModelInferResponse.FromString(reply) == pb.ModelInferResponse.FromString(plain)
    (trace,) = written(tracing)
    assert (trace["id"], trace["model_name"], trace["model_version"]) == (1, "m", "1")
    assert (trace["request_id"], trace["steps"]) == ("i", steps)
    assert [stamp["name"] for stamp in trace["timestamps"]] == [
        *("REQUEST_START", "QUEUE_START", "REQUEST_END"),
    ]
    assert trace["timestamps"][0]["ns"] == 17


@pytest.mark.parametrize("error", [JobFailed(13, "broken"), asyncio.CancelledError()])
async def test_a_trace_says_how_a_request_failed(tracing, error):
    change(tracing, trace_level="TIMESTAMPS", trace_rate="1")

    async def answering():
        raise error

    with pytest.raises((PenstockError, asyncio.CancelledError)):
        await tracing.begin(REF, "", 0).follow(answering())

    assert written(tracing)[0]["error"] == (str(error) or "CancelledError")


async def test_a_file_that_cannot_be_written_ends_tracing_and_no_request(tracing):
    change(tracing, trace_level="TIMESTAMPS", trace_rate="1")
    tracing.file.mkdir()
    plain = pb.ModelInferResponse(model_name="m").SerializeToString()

    async def answering():
        return plain

    assert await tracing.begin(REF, "", 0).follow(answering()) == plain
    assert not tracing.on
