"""How far a cluster has come: asked again and again while it starts."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

import grpc

from penstock.models.files.repository import scan
from penstock.protos import cluster_pb2 as pb
from penstock.protos import cluster_pb2_grpc
from penstock.settings import UpSettings

_ASK_EVERY_S: Final = 0.1
_ANSWER_S: Final = 5.0


def expected_versions(settings: UpSettings) -> set[tuple[str, int]]:
    """What the repositories offer, as far as it is loaded at the start.

    Raises:
        InvalidConfiguration: one cannot be read.
    """
    scanned = scan(*settings.models, hash_of=lambda _: "")
    found = {(version.model, version.version) for version in scanned}
    if settings.model_control_mode in ("none", "poll") or "*" in settings.load_model:
        return found
    return {(model, version) for model, version in found if model in settings.load_model}


async def progress(url: str) -> AsyncGenerator[pb.StatusResponse, None]:
    """The cluster's status, several times a second, for as long as anybody wants to know."""
    # The cluster's own gateway, wherever it listens.
    async with grpc.aio.insecure_channel(url, [("grpc.enable_http_proxy", 0)]) as channel:
        stub = cluster_pb2_grpc.ClusterStub(channel)  # type: ignore[no-untyped-call]
        while True:
            try:
                yield await stub.Status(pb.StatusRequest(), timeout=_ANSWER_S)
            except grpc.RpcError as error:
                # The gateway, or the store behind it, is being started again.
                if error.code() not in _PASSING:
                    raise
            await asyncio.sleep(_ASK_EVERY_S)


def settled(status: pb.StatusResponse, expected: set[tuple[str, int]]) -> bool:
    """Whether every version that can be ready is, and the others have said why not."""
    known = {(v.model, v.version): v.state for v in status.versions}
    return (
        bool(status.nodes and status.schedulers)
        and expected <= known.keys()
        and all(state != "LOADING" for state in known.values())
    )


_PASSING: Final = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL}
)
