"""The RPCs of the shared memory extensions: system regions if allowed, CUDA regions never."""

from penstock.errors import Unimplemented
from penstock.gateway.requests.shared_memory.regions import (
    RegionNotFound,
    Regions,
    TeamRegions,
    check_local,
)
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.requests.refusal_texts import DISABLED

_NO_CUDA = (
    "CUDA shared memory is not offered: a gateway holds no device; use system shared memory, "
    "or send tensors in the message"
)


class SharedMemory:
    """Answers the six RPCs; *regions* is None where clients may not use shared memory.

    Attributes:
        allowed: whether they may.
    """

    def __init__(self, regions: Regions | None) -> None:
        self._regions = regions
        self.allowed = regions is not None

    def check(self, *, local: bool) -> None:
        """Let a call of these RPCs pass whose client is on this machine, if *local*.

        Raises:
            Unimplemented: clients may not use shared memory.
            NotHere: this client is on another machine.
        """
        self._known()
        check_local(local=local)

    def system_status(
        self, request: pb.SystemSharedMemoryStatusRequest, team: str
    ) -> pb.SystemSharedMemoryStatusResponse:
        """One region of *team*, or all."""
        regions = self._known(team)
        found = [regions.named(request.name, "system ")] if request.name else list(regions)
        status = pb.SystemSharedMemoryStatusResponse.RegionStatus
        return pb.SystemSharedMemoryStatusResponse(
            regions={
                one.name: status(
                    name=one.name, key=one.key, offset=one.offset, byte_size=one.byte_size
                )
                for one in found
            }
        )

    def system_register(
        self, request: pb.SystemSharedMemoryRegisterRequest, team: str
    ) -> pb.SystemSharedMemoryRegisterResponse:
        """Name a part of a segment; the name is *team*'s."""
        self._known(team).register(request.name, request.key, request.offset, request.byte_size)
        return pb.SystemSharedMemoryRegisterResponse()

    def system_unregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, team: str
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        """Forget one region of *team*, or all."""
        self._known(team).unregister(request.name)
        return pb.SystemSharedMemoryUnregisterResponse()

    def cuda_status(
        self, request: pb.CudaSharedMemoryStatusRequest, _: str
    ) -> pb.CudaSharedMemoryStatusResponse:
        """There are none."""
        self._known()
        if request.name:
            raise RegionNotFound(f"Unable to find cuda shared memory region: '{request.name}'")
        return pb.CudaSharedMemoryStatusResponse()

    def cuda_register(
        self, _: pb.CudaSharedMemoryRegisterRequest, __: str
    ) -> pb.CudaSharedMemoryRegisterResponse:
        """Refuse: there can be none."""
        self._known()
        raise Unimplemented(_NO_CUDA)

    def cuda_unregister(
        self, _: pb.CudaSharedMemoryUnregisterRequest, __: str
    ) -> pb.CudaSharedMemoryUnregisterResponse:
        """Nothing to forget: clients tidy up both kinds before they use one."""
        self._known()
        return pb.CudaSharedMemoryUnregisterResponse()

    def _known(self, team: str = "") -> TeamRegions:
        if self._regions is None:
            raise Unimplemented(DISABLED)
        return self._regions.of(team)
