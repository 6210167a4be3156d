"""Clients load and unload models, and hear when the whole cluster has done it.

What a client wants becomes a load request in the registry; a scheduler answers it, nodes start or
stop workers, and this gateway watches the snapshots until all of it is true.
"""

import uuid
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from penstock.clock import monotonic
from penstock.errors import Code, InvalidRequest, PenstockError, Unimplemented
from penstock.gateway.models.catalog import Catalog
from penstock.gateway.models.load_parameters import (
    LoadFailed,
    LoadTerms,
    VersionsFailed,
    check_name,
    read_terms,
)
from penstock.gateway.offload import Offload
from penstock.models.config.ensembles import needs, users
from penstock.models.files.repository import NO_VERSION
from penstock.protos import cluster_pb2
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos.bounds import SHORT_BYTES
from penstock.scheduler.decisions.readiness import VersionState
from penstock.scheduler.registry.load_requests import NEEDED, NOT_THERE, LoadRequests
from penstock.scheduler.registry.snapshot import Snapshot
from penstock.settings import GatewaySettings

BY_REQUEST: Final = frozenset({"explicit", "on-demand"})
"""Control modes in which clients say what is loaded."""

MOST_UNKNOWN: Final = 1000
"""Names at a time that clients want loaded and no repository has; a minute later they are gone."""

MOST_FILE_SIZES: Final = 16
"""So many times what one load's files may take, those of all models may take in Redis."""

_STOPPING_S: Final = 30.0
_LOST_S: Final = 5.0

Answered = pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest


class ControlRefused(PenstockError):
    """This cluster does not load and unload models at its clients' request, or cannot now."""

    code = Code.UNAVAILABLE


class Control:
    """Loads and unloads models through the registry.

    Attributes:
        waiting: how many loads are under way, by model.
    """

    def __init__(
        self, catalog: Catalog, load_requests: LoadRequests, settings: GatewaySettings
    ) -> None:
        self._catalog = catalog
        self._load_requests = load_requests
        self._most_file_mib = settings.max_override_mib
        self._allow_code = settings.allow_code_overrides
        self._offload = Offload()
        self.waiting: Counter[str] = Counter()

    async def load(self, request: pb.RepositoryModelLoadRequest) -> None:
        """Load, or load anew; return when each stage of each version has its replicas ready.

        Raises:
            InvalidRequest, ControlRefused, LoadFailed: with Triton's words, where it has any.
        """
        self._check(request)
        check_name(request.model_name)
        model = request.model_name
        terms = await self._terms(request)
        self._check_room(model, sum(map(len, terms.files.values())))
        self.waiting[model] += 1
        try:
            await self._until(self._is_loaded, await self._request_load(model, terms))
        finally:
            self.waiting[model] -= 1
            if not self.waiting[model]:
                # Clients make the names up.
                del self.waiting[model]

    async def unload(self, request: pb.RepositoryModelUnloadRequest) -> None:
        """Unload; return when requests in work are answered and the workers are gone.

        A model that nobody knows is unloaded, whatever its name. With `unload_dependents`, the
        models that an ensemble is made of are unloaded as well, but for those that a client loaded
        by name and those that another ensemble needs.

        Raises:
            InvalidRequest, ControlRefused: with Triton's words.
        """
        self._check(request)
        dependents = request.parameters.get("unload_dependents")
        if dependents is not None and dependents.WhichOneof("parameter_choice") != "bool_param":
            raise InvalidRequest(
                "invalid value type for 'unload_dependents' parameter, expected bool_param."
            )
        model = request.model_name
        if model not in self._there() | self._catalog.snapshot.load_requests.keys():
            return
        others: list[str] = []
        if dependents is not None and dependents.bool_param:
            others = _dependents(model, self._catalog.snapshot)
        load_requests = [
            cluster_pb2.LoadRequest(model=name, id=new_id(), unload=True, time_ms=self._now_ms())
            for name in (model, *others)
        ]
        for load_request in load_requests:
            await self._load_requests.put(load_request)
        for load_request in load_requests:
            await self._unloaded(load_request)

    async def _terms(self, request: pb.RepositoryModelLoadRequest) -> LoadTerms:
        """The terms of a load; what is long is read beside the event loop."""
        read = partial(read_terms, request, self._most_file_mib, allow_code=self._allow_code)
        if request.ByteSize() <= SHORT_BYTES:
            return read()
        return await self._offload.run(read)

    async def _until(
        self,
        done: Callable[[cluster_pb2.LoadRequest], bool],
        load_request: cluster_pb2.LoadRequest,
    ) -> None:
        """Wait until *done* is true of the load request that counts for the model.

        It is asked with each snapshot, of the latest one from *load_request* on.
        """
        seen, late_s = False, monotonic() + _LOST_S
        while True:
            latest = self._catalog.snapshot.load_requests.get(load_request.model)
            seen = seen or (latest is not None and latest.id == load_request.id)
            if latest is not None and (seen or monotonic() > late_s):
                if done(latest):
                    return
            elif monotonic() > late_s:
                # Redis forgot it.
                await self._load_requests.put(load_request)
                late_s = monotonic() + _LOST_S
            self._check_schedulers()
            await self._catalog.turn()

    def _check(self, request: Answered) -> None:
        if request.repository_name:
            raise Unimplemented("'repository_name' specification is not supported")
        self._check_schedulers()
        if self._catalog.mode not in BY_REQUEST:
            raise ControlRefused(
                "explicit model load / unload is not allowed if polling is enabled"
            )

    def _check_room(self, model: str, size: int) -> None:
        """Refuse a load that would be one too many of what clients alone can make up.

        Raises:
            ControlRefused: there are enough names that no repository has, or bytes of files.
        """
        snapshot = self._catalog.snapshot
        invented = (snapshot.load_requests.keys() | self.waiting.keys()) - self._there()
        if model not in invented and model not in self._there() and len(invented) >= MOST_UNKNOWN:
            raise ControlRefused(
                f"{len(invented)} models that no repository has were asked for within a minute; "
                "try again later"
            )
        kept = sum(int(entry.split()[0]) for entry in snapshot.files.values())
        if size and kept + size > MOST_FILE_SIZES * self._most_file_mib << 20:
            raise ControlRefused(
                f"the files of models that were loaded with files take {kept >> 20} MiB in Redis: "
                "unload some of them, or raise --max-override-mib"
            )

    def _there(self) -> set[str]:
        """Models that a repository has, or that run."""
        snapshot = self._catalog.snapshot
        return {revision.model for revision in snapshot.revisions()} | set(snapshot.available)

    def _check_schedulers(self) -> None:
        if self._catalog.snapshot.control_mode() is None:
            raise ControlRefused(
                "no scheduler with a model repository is running: start one with "
                "'penstock scheduler --models DIR'"
            )

    async def _request_load(self, model: str, terms: LoadTerms) -> cluster_pb2.LoadRequest:
        load_request = cluster_pb2.LoadRequest(model=model, id=new_id(), time_ms=self._now_ms())
        if terms.config is not None:
            load_request.config = terms.config.SerializeToString(deterministic=True)
        for path, content in sorted(terms.files.items()):
            digest = await self._load_requests.keep(content)
            load_request.files.add(path=path, digest=digest, size=len(content))
        await self._load_requests.put(load_request)
        return load_request

    def _is_loaded(self, load_request: cluster_pb2.LoadRequest) -> bool:
        """Whether the model is loaded as *load_request* has it."""
        if load_request.unload:
            raise LoadFailed(load_request.model, load_request.reason or "it was unloaded meanwhile")
        snapshot = self._catalog.snapshot
        answer = snapshot.load_results.get(load_request.model)
        if answer is None or answer.load_request != load_request.id:
            return False
        if answer.error:
            raise LoadFailed(load_request.model, answer.error)
        states = {
            id_: state
            for id_, state in self._catalog.rollout.newest.items()
            if id_.model == load_request.model
        }
        if not states:
            raise LoadFailed(load_request.model, "no version is available")
        failed = {id_.version: why for id_, one in states.items() if (why := self._failure(one))}
        if NO_VERSION in failed:
            raise LoadFailed(load_request.model, f"{NOT_THERE}: {failed[NO_VERSION]}")
        if failed:
            raise VersionsFailed(load_request.model, failed)
        complete = all(state.complete for state in states.values())
        return complete and self._are_members_settled(load_request.model, snapshot)

    def _are_members_settled(self, ensemble: str, snapshot: Snapshot) -> bool:
        """Whether no version of a model that *ensemble* is made of is still being loaded."""
        return not any(
            snapshot.is_load_awaited(member)
            or any(
                id_.model == member and not state.complete and not self._failure(state)
                for id_, state in self._catalog.rollout.newest.items()
            )
            for member in _members(ensemble, snapshot)
        )

    async def _unloaded(self, load_request: cluster_pb2.LoadRequest) -> None:
        give_up_s = monotonic() + _STOPPING_S

        def done(latest: cluster_pb2.LoadRequest) -> bool:
            # Another one counts by now: then somebody else decides.
            late = monotonic() > give_up_s
            return latest.id != load_request.id or _is_gone(
                load_request, self._catalog.snapshot, late=late
            )

        await self._until(done, load_request)

    def _failure(self, state: VersionState) -> str:
        """Why the version will not be loaded; empty if it may be."""
        if state.state != "UNAVAILABLE":
            return ""
        if state.crowded and self._catalog.mode == "on-demand":
            # A scheduler makes room, or gives up.
            return ""
        return state.reason

    def _now_ms(self) -> int:
        return self._catalog.snapshot.now_ms


def _is_gone(load_request: cluster_pb2.LoadRequest, snapshot: Snapshot, *, late: bool) -> bool:
    """Whether the model takes no requests, and its workers have ended unless it is *late*."""
    answer = snapshot.load_results.get(load_request.model)
    if answer is None or answer.load_request != load_request.id:
        return False
    if any(one.record.model == load_request.model for one in snapshot.outgoing):
        return False
    return late or not any(worker.model == load_request.model for worker in snapshot.live_workers())


def _dependents(ensemble: str, snapshot: Snapshot) -> list[str]:
    """Models that were loaded for *ensemble*, or for one in it, and that no other one needs."""
    used_by = users(snapshot.versions.values())
    going = [ensemble]
    for model in going:
        for record in snapshot.versions_of(model):
            for needed in needs(record):
                load_request = snapshot.load_requests.get(needed)
                loaded_for_it = load_request is not None and load_request.reason.startswith(NEEDED)
                if loaded_for_it and needed not in going and used_by[needed] <= set(going):
                    going.append(needed)
    return going[1:]


def _members(ensemble: str, snapshot: Snapshot) -> list[str]:
    """The models that *ensemble* is made of, those of ensembles in it included."""
    found = [ensemble]
    for model in found:
        for record in snapshot.versions_of(model):
            found += [needed for needed in needs(record) if needed not in found]
    return found[1:]


def new_id() -> str:
    """The id of a new load request."""
    return uuid.uuid4().hex[:16]
