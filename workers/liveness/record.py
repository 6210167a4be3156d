"""The record of a worker in the registry, as its settings begin it."""

import os
import socket
import uuid

import penstock
from penstock.protos import cluster_pb2 as pb
from penstock.settings import WorkerSettings
from penstock.transport.arena import memory_domain


def record_of(settings: WorkerSettings) -> pb.Worker:
    """What is known of a worker before it has loaded anything."""
    name = settings.node or socket.gethostname()
    return pb.Worker(
        id=settings.worker_id
        or f"{name}/{settings.model}/{settings.version}/{settings.stage}.{os.getpid()}",
        boot_id=settings.boot_id or uuid.uuid4().hex[:16],
        model=settings.model,
        version=settings.version,
        stage=settings.stage,
        node=name,
        device=settings.device,
        pid=os.getpid(),
        state=pb.WORKER_STATE_LOADING,
        restarts=settings.restarts,
        load_error=settings.load_error,
        fingerprint=settings.fingerprint or "",
        revision_id=settings.revision_id or "",
        software=penstock.__version__,
        memory_domain=memory_domain(),
    )
