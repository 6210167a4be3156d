"""What Redis holds: the registry's records, settings, and replies."""

from fuzz import mutations
from fuzz.engine import Target

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.cluster_settings import setting
from penstock.scheduler.registry.records import SnapshotReader
from penstock.scheduler.registry.registry import HASHES
from penstock.scheduler.replies.reader import replies_of

KINDS = (pb.ModelVersion, pb.Placement, pb.Node, pb.Worker, pb.Gateway, pb.Scheduler, pb.Signature)
TEXTS = {HASHES.index(name) for name in ("unsplittable", "rebuilds", "files", "settings")}
NUMBERS = {HASHES.index(name) for name in ("since", "footprints")}


def snapshot(data):
    """A registry in which one hash has a field with these bytes."""
    place = data[0] % len(HASHES) if data else 0
    hashes = [[] for _ in HASHES]
    kept = b"5" if place in NUMBERS else b'["s", 1]' if place in TEXTS else data[1:]
    hashes[place] = [b"s/m/1/g", kept]
    SnapshotReader().read([1, 2, b"1-0", *hashes, [], b"", b"", [], []])


def records():
    version = pb.ModelVersion(model="m", version=1, revision_id="g", replicas=1)
    version.stages.add(artifact="m/1/model.onnx", artifact_bytes=5, fingerprint="f")
    content = [
        version,
        pb.Placement(model="m", version=1, node="n", device="cpu:0"),
        pb.Node(id="n", devices=[pb.Device(kind="cpu", memory_bytes=5)]),
        pb.Worker(model="m", version=1, node="n"),
        pb.Gateway(id="g", boot_id="b"),
        pb.Scheduler(id="s"),
        pb.Signature(inputs=[pb.TensorSpec(name="x", datatype="FP32", shape=[-1])]),
        pb.BatchProof(proved=True, why="it was tried"),
    ]
    placed = {
        **dict(enumerate(content)),
        HASHES.index("retiring"): version,
        HASHES.index("wishes"): pb.LoadRequest(model="m", id="w"),
    }
    return [bytes([place]) + one.SerializeToString() for place, one in placed.items()]


def reply(data):
    """Entries of a gateway's stream: eight fields for each reply."""
    fields = data.split(b"|")
    list(replies_of(fields[: len(fields) // 8 * 8]))


REPLY = b"job|j1|code|0|message||body|reply"


def behind_a_byte(data, random):
    return data[:1] + mutations.message(data[1:], random)


TARGETS = [
    Target("registry", "records of the registry", records(), snapshot, mutate=behind_a_byte),
    Target("settings", "settings of the cluster", [b'["stamp", "1"]', b'["s", true]'],
           lambda data: setting(data.decode("utf-8", "replace")), mutate=mutations.text),
    Target("replies", "a gateway's replies", [REPLY, REPLY + b"|" + REPLY], reply,
           mutate=mutations.text),
]  # fmt: skip
