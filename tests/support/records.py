"""The registry's records, short to write: versions, nodes, placements, workers, snapshots."""

from google.protobuf import text_format

from penstock.protos import cluster_pb2 as pb
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.scheduler.registry.snapshot import Snapshot, VersionId, signature_id, worker_id

MIB = 1 << 20


def config(text="", **fields):
    return text_format.Parse(text, ModelConfig(**fields))


def stage(mib=0, runtime="onnxruntime", fingerprint="f"):
    return pb.Stage(artifact_bytes=mib * MIB, runtime=runtime, fingerprint=fingerprint)


def version(*stages, model="m", number=1, text="", **fields):
    """A version with these stages, one if none is given; *text* is its config.pbtxt."""
    made = pb.ModelVersion(
        model=model,
        version=number,
        config=config(text).SerializeToString(),
        stages=stages or [stage()],
        **fields,
    )
    suffixes = {"onnxruntime": "onnx", "pytorch": "pt2", "python": "py", "language": "onnx"}
    for index, one in enumerate(made.stages):
        name = "model" if len(made.stages) == 1 else f"shard-{index}"
        one.index, one.artifact = index, f"{model}/{number}/{name}.{suffixes[one.runtime]}"
    return made


def signature(inputs, outputs):
    return pb.Signature(inputs=inputs, outputs=outputs)


PROVED = pb.BatchProof(proved=True, why="seen in a test")
"""Rows of an artifact run together equal rows run apart."""


def cpu(mib=100_000, index=0):
    return pb.Device(kind="cpu", index=index, memory_bytes=mib * MIB)


def cuda(mib=100_000, index=0):
    return pb.Device(kind="cuda", index=index, memory_bytes=mib * MIB)


def node(id_, *devices, **fields):
    return pb.Node(id=id_, devices=devices or [cpu()], **fields)


def placement(node_id="n", stage_index=0, replica=0, *, device="cpu:0", model="m", **fields):
    return pb.Placement(
        **{"version": 1, "fingerprint": "f"} | fields,
        model=model,
        stage=stage_index,
        replica=replica,
        node=node_id,
        device=device,
    )


def worker(placed, state=pb.WORKER_STATE_READY, reason=""):
    """The worker that was started for a placement."""
    return pb.Worker(
        id=worker_id(placed),
        model=placed.model,
        version=placed.version,
        stage=placed.stage,
        node=placed.node,
        device=placed.device,
        fingerprint=placed.fingerprint,
        state=state,
        reason=reason,
    )


def known(record, *signatures):
    """The signatures of a version's stages, as a registry has them."""
    return {
        signature_id(record.model, record.version, one.index, one.fingerprint): found
        for one, found in zip(record.stages, signatures, strict=True)
    }


def snapshot(
    versions=(),
    *,
    placements=(),
    nodes=(),
    workers=(),
    schedulers=("s",),
    signatures=(),
    dead=(),
    proofs=None,
):
    """A snapshot in which all live but those that *dead* names, as in "nodes/n".

    Rows of every artifact may run together, where *proofs* does not say otherwise.
    """
    records = {
        "nodes": {one.id: one for one in nodes},
        "workers": {one.id: one for one in workers},
        "schedulers": {id_: pb.Scheduler(id=id_) for id_ in schedulers},
    }
    everybody = {f"{kind}/{id_}" for kind, found in records.items() for id_ in found}
    return Snapshot(
        now_ms=1_700_000_000_000,
        revision=1,
        change_id="1-0",
        versions={VersionId(one.model, one.version): one for one in versions},
        placements=tuple(placements),
        gateways={},
        signatures=dict(signatures),
        batch_proofs=dict.fromkeys(dict(signatures), PROVED) if proofs is None else proofs,
        live=frozenset(everybody - set(dead)),
        **records,
    )
