"""Catalogs of models, as a test says that they are."""

import pytest
from support.clients.infer_requests import spec
from support.records import (
    known,
    node,
    placement,
    signature,
    snapshot,
    version,
    worker,
)

from penstock.gateway.models.catalog import Catalog
from penstock.protos import cluster_pb2 as pb

WHOLE = signature([spec("x", "FP32", -1, 4)], [spec("y", "FP32", -1, 2)])


def ready(number=1, *, state=pb.WORKER_STATE_READY, model="m", **fields):
    """A version, its signature, and its worker in that state."""
    record = version(model=model, number=number, **fields)
    held = record.stages[0].fingerprint
    placed = placement(model=model, version=number, fingerprint=held)
    return record, known(record, WHOLE), worker(placed, state)


def seen(*known_versions, **facts):
    records, signatures, workers = zip(*known_versions, strict=True) if known_versions else [()] * 3
    together = {name: found for one in signatures for name, found in one.items()}
    return snapshot(records, workers=workers, signatures=together, nodes=[node("n")], **facts)


def catalog(*known_versions, **facts):
    made = Catalog()
    made.update(seen(*known_versions, **facts))
    return made


def refusal(kind, call, *words):
    with pytest.raises(kind) as caught:
        call(*words)
    return str(caught.value)


LOADING = {"state": pb.WORKER_STATE_LOADING}


FAILED = {"state": pb.WORKER_STATE_FAILED}
