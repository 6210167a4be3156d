"""How far a cluster has come: asked again and again while it starts."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

import grpc

from penstock.clock import monotonic
from penstock.models.files.repository import scan
from penstock.protos import cluster_pb2 as pb
from penstock.protos import cluster_pb2_grpc
from penstock.settings import UpSettings

_ASK_EVERY_S: Final = 0.1
_ANSWER_S: Final = 5.0
_REST: Final = 4.0
"""To each second that an answer took."""

REFUSED_S: Final = 5.0
"""How long a version must have been refused for that to be the end of it."""


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


async def progress(url: str, key: str) -> AsyncGenerator[pb.StatusResponse, None]:
    """The cluster's status, several times a second, for as long as anybody wants to know.

    Of many models less often: most of the time is theirs, to start in.

    Args:
        key: that the gateway takes from this process.
    """
    # The cluster's own gateway, wherever it listens.
    async with grpc.aio.insecure_channel(url, [("grpc.enable_http_proxy", 0)]) as channel:
        stub = cluster_pb2_grpc.ClusterStub(channel)  # type: ignore[no-untyped-call]
        shown = (("authorization", f"Bearer {key}"),)
        while True:
            asked_s = monotonic()
            try:
                yield await stub.Status(pb.StatusRequest(), timeout=_ANSWER_S, metadata=shown)
            except grpc.RpcError as error:
                # The gateway, or the store behind it, is being started again.
                if error.code() not in _PASSING:
                    raise
            await asyncio.sleep(max(_ASK_EVERY_S, _REST * (monotonic() - asked_s)))


class Start:
    """How far the versions are that a cluster starts with."""

    def __init__(self, expected: set[tuple[str, int]]) -> None:
        self._expected = expected
        self._refused_since_s: dict[tuple[str, int], float] = {}

    def is_over(self, status: pb.StatusResponse, now_s: float) -> bool:
        """Whether each version is ready, or has failed for good.

        What no node will have is refused for good when that was so for a while: a node that was
        too busy to say that it lives seems to be gone for a moment.
        """
        known = {(one.model, one.version): one for one in status.versions}
        refused = {key for key, one in known.items() if _is_refused(one)}
        self._refused_since_s = {key: self._refused_since_s.get(key, now_s) for key in refused}
        lasting = all(now_s - since_s >= REFUSED_S for since_s in self._refused_since_s.values())
        return (
            lasting
            and any(not node.draining for node in status.nodes)
            and bool(status.schedulers)
            and self._expected <= known.keys()
            and all(one.state != "LOADING" for one in status.versions)
        )

    def text(self, status: pb.StatusResponse) -> str:
        """As in "37 of 200 models ready"."""
        ready = sum(one.state == "READY" for one in status.versions)
        return f"{ready} of {self.total(status)} models ready"

    def total(self, status: pb.StatusResponse) -> int:
        """All that are expected, and all that are there besides."""
        return len({(one.model, one.version) for one in status.versions} | self._expected)


def state_at_start(version: pb.VersionStatus, status: pb.StatusResponse) -> str:
    """Its state as a start shows it: while the node begins, nobody has refused it for good."""
    early = version.state == "UNAVAILABLE" and not status.nodes
    return "LOADING" if early or _is_refused(version) else version.state


def _is_refused(version: pb.VersionStatus) -> bool:
    """Whether it is not to be had although no worker has tried it, and its files are fine."""
    workers = [worker for stage in version.stages for worker in stage.workers]
    return version.state == "UNAVAILABLE" and bool(version.stages) and not workers


_PASSING: Final = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL}
)
