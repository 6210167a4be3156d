"""What is damaged, or of another release, is refused by name or passed over; nobody ends of it."""

import asyncio
import io
import struct
from base64 import b64encode
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from penstock.cli.ask.inputs import Wanted, read_inputs
from penstock.errors import ArtifactUnusable, Code, InvalidConfiguration, InvalidRequest
from penstock.gateway.delivery.direct.worker_connections import DirectJob, WorkerConnection
from penstock.gateway.operations.live_settings import LiveSettings
from penstock.gateway.operations.tracing import Tracing
from penstock.loadgen.plan import Plan
from penstock.models.config.model_config import parse
from penstock.models.config.policies import QueueLimits
from penstock.models.files.artifacts import stages_of
from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2 as pb
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.scheduler.jobs.types import NewJob
from penstock.scheduler.registry.cluster_settings import setting
from penstock.scheduler.registry.records import SnapshotReader
from penstock.scheduler.registry.registry import HASHES
from penstock.scheduler.replies.reader import replies_of
from penstock.scheduler.store.topology import topology_of
from penstock.transport.lane import (
    LaneEnd,
    Malformed,
    ends_in,
    jobs_in,
    packed_ends,
    packed_jobs,
    room_in,
)
from penstock.workers.run.ensemble_step import ensemble_step_of


class Transport(asyncio.Transport):
    def __init__(self):
        super().__init__()
        self.aborted = False

    def writelines(self, parts):
        """Take them."""

    def abort(self):
        self.aborted = True


class Gateway:
    """A lane whose worker has two jobs, and what became of them."""

    def __init__(self):
        self.ended, self.left, self.broken = [], [], []
        self.worker = WorkerConnection("g", self.left.extend, self.broken.extend, lambda: None)
        self.transport = self.worker._transport = Transport()
        self.worker.hand(
            DirectJob(
                NewJob(id_, "g", StageRef("m", 1, 0), 0, 1, 1000, 0, b"p"),
                QueueLimits(9, 9),
                self.ended.append,
            )
            for id_ in ("first", "second")
        )

    def hears(self, *parts):
        self.worker.data_received(b"".join(parts))
        self.worker.connection_lost(None)


@pytest.mark.parametrize(
    "said",
    [
        [struct.pack("<IB", 3, 3), b"abc"],
        [struct.pack("<IB", 2, 4), b"ab"],
        packed_ends([LaneEnd(99, 0, "", b"")]),
        packed_ends([LaneEnd(2, 255, "", b""), LaneEnd(2, 255, "", b"")]),
    ],
    ids=["an end cut off", "a room cut off", "an unknown job", "a job left twice"],
)
def test_a_worker_that_is_not_understood_is_cut_off_and_its_jobs_are_nobodys_fault(said):
    gateway = Gateway()

    gateway.hears(*packed_ends([LaneEnd(1, 0, "", b"reply")]), *said)

    assert gateway.transport.aborted
    assert [reply.job for reply in gateway.ended] == ["first"]
    assert [direct.job.id for direct in gateway.left] == ["second"]
    assert not gateway.broken


def test_a_status_that_only_another_release_has_is_unknown():
    gateway = Gateway()

    gateway.hears(*packed_ends([LaneEnd(1, 77, "odd", b"")]))

    assert [(reply.code, reply.message) for reply in gateway.ended] == [(Code.UNKNOWN, "odd")]


@pytest.mark.parametrize("read", [jobs_in, ends_in])
def test_no_frame_that_is_cut_off_is_read_as_a_shorter_one(read):
    _, *parts = (
        packed_jobs([(1, 1, 1000, 5, b"payload")])
        if read is jobs_in
        else packed_ends([LaneEnd(1, 0, "text", b"payload")])
    )
    whole = b"".join(parts)

    assert list(read(whole))
    for size in range(1, len(whole)):
        with pytest.raises(Malformed):
            list(read(whole[:size]))


def test_a_room_is_one_number():
    with pytest.raises(Malformed):
        room_in(b"\0\0\0")


def snapshot(reader, *nodes):
    hashes = [[] for _ in HASHES]
    hashes[2] = [part for pair in nodes for part in pair]
    return reader.read([1, 2, b"1-0", *hashes, [], b"", b"", [], []])


def test_a_damaged_record_is_as_if_it_were_not_there():
    reader = SnapshotReader()
    good = (b"good", pb.Node(id="good").SerializeToString())

    found = snapshot(reader, good, (b"damaged", b"\x0a\xff"))

    assert list(found.nodes) == ["good"]
    assert list(snapshot(reader, good, (b"damaged", pb.Node().SerializeToString())).nodes) == [
        "damaged",
        "good",
    ]


@pytest.mark.parametrize("text", ["", "[", "7", "[]", '"', "[" * 100_000])
def test_a_damaged_setting_is_called_so(text):
    with pytest.raises(InvalidConfiguration, match="no setting of a cluster"):
        setting(text)


def test_a_damaged_setting_is_as_if_it_were_not_there():
    settings = LiveSettings(None, Tracing(None))
    found = snapshot(SnapshotReader())

    settings.update(replace(found, settings={"trace//trace_rate": "[", "log/x": "7"}))

    shown = settings._tracing.shown().settings
    assert list(shown["trace_rate"].value) == ["1000"]


def test_a_reply_with_a_status_of_another_release_ends_its_request_all_the_same():
    fields = [b"", b"job", b"", b"77", b"", b"\xff", b"", b"body"]

    (reply,) = replies_of(fields)

    assert (reply.job, reply.code, reply.body) == ("job", Code.UNKNOWN, b"body")


@pytest.mark.parametrize("text", ["a", "====", b64encode(b"\xff").decode(), ""])
def test_a_route_that_cannot_be_read_is_the_requests_fault(text):
    with pytest.raises(InvalidRequest, match="the request's route"):
        ensemble_step_of(text)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://[a/m",
        "redis+cluster://:secret@[::1",
        "redis+sentinel://h/m/\N{SUPERSCRIPT TWO}",
    ],
)
def test_a_url_that_is_none_is_refused_without_its_password(url):
    with pytest.raises(InvalidConfiguration, match="--redis") as caught:
        topology_of(url)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"requests": 7}', b'{"a": 1, "requests": []}']
)
def test_a_plan_that_is_none_is_refused(data):
    with pytest.raises(InvalidRequest, match="this is no plan of a load"):
        Plan.from_bytes(data)


@pytest.mark.parametrize(
    "text",
    [
        "input { data_type: 4294967295 }",
        "input { dims: 99999999999999999999 }",
        "input { " * 50_000,
    ],
)
def test_a_configuration_that_cannot_be_is_refused_by_its_files_name(text):
    with pytest.raises(InvalidConfiguration, match=r"^config\.pbtxt:"):
        parse(text, "config.pbtxt")


def test_a_file_name_that_no_file_system_has_is_refused(tmp_path):
    config = ModelConfig(default_model_filename="m" * 256 + ".onnx")

    with pytest.raises(ArtifactUnusable, match="must be a plain file name"):
        stages_of(tmp_path, tmp_path, config)


def gif(width, height):
    """An image that says it is larger than it is."""
    stream = io.BytesIO()
    Image.new("L", (4, 4)).save(stream, "GIF")
    data = stream.getvalue()
    return data[:6] + struct.pack("<HH", width, height) + data[10:]


def npy(text):
    stream = io.BytesIO()
    np.save(stream, np.zeros((1, 3), np.float32))
    return stream.getvalue().replace(b"'shape': (1, 3)", text)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "content",
    [
        gif(65_535, 65_535),
        npy(b"'shape': (1, 3"),
        npy(b"'shape': (9" + b"9" * 12 + b",)"),
        npy(b"\0"),
    ],
    ids=["a bomb", "a header cut off", "a large shape", "no header"],
)
def test_a_file_that_is_damaged_or_a_bomb_is_refused(tmp_path, content):
    file = tmp_path / "file"
    file.write_bytes(content)

    with pytest.raises(InvalidRequest, match="cannot read"):
        read_inputs([f"@{file}"], [Wanted("x", "FP32", (-1, 3, 4, 4))])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sequence_batching { control_input { name: 's' control { kind: 128 } } }", "kind: 128"),
        ("input { name: 'x' data_type: 99 dims: 1 }", "data_type: 99"),
    ],
)
def test_a_number_that_is_no_value_of_its_enumeration_is_named(text, told):
    with pytest.raises(InvalidConfiguration, match=told):
        parse(text, "config.pbtxt")
