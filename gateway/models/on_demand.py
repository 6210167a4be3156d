"""Where models are loaded on demand, the first request for one loads it, and waits.

The request waits here and not in the queue: until a worker has seen the model, nobody knows what
its inputs are. Requests for models that are loaded never come here.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from penstock.clock import Deadline, monotonic
from penstock.errors import Code, DeadlineExceeded
from penstock.gateway.models.catalog import Catalog, ModelUnloaded
from penstock.gateway.models.control import new_id
from penstock.gateway.models.load_parameters import LoadFailed
from penstock.protos import cluster_pb2
from penstock.scheduler.registry.load_requests import LoadRequests

_LOST_S: Final = 5.0


class OnDemandFailed(LoadFailed):
    """The model that a request is for cannot be loaded now."""

    code = Code.UNAVAILABLE


@dataclass(slots=True)
class _Wait:
    """One request that waits.

    Attributes:
        load request: the id of the load request that it waits for; None while it knows of none.
        seen: it was seen in the registry.
        late_s: when a load request that was not seen counts as lost.
    """

    load_request: str | None = None
    seen: bool = False
    late_s: float = 0.0

    def follow(self, load_request: str, *, seen: bool) -> None:
        self.load_request, self.seen, self.late_s = load_request, seen, monotonic() + _LOST_S


class OnDemand:
    """Loads models that requests are for.

    Attributes:
        waiting: how many requests wait, by model.
    """

    def __init__(
        self, catalog: Catalog, load_requests: LoadRequests, default_timeout_s: float
    ) -> None:
        """*default_timeout_s*: for requests without a deadline."""
        self._catalog = catalog
        self._load_requests = load_requests
        self._default_timeout_s = default_timeout_s
        self._replaced: dict[str, tuple[str, float]] = {}
        self.waiting: Counter[str] = Counter()

    def default_deadline(self) -> Deadline:
        """Of a request that comes now, and has none of its own."""
        return Deadline.after(self._default_timeout_s)

    async def load(self, missing: ModelUnloaded, deadline: Deadline) -> None:
        """Wait until a version takes requests, or is known never to; request a load if need be.

        Raises:
            OnDemandFailed: why it cannot be loaded.
            DeadlineExceeded: it took too long.
        """
        model = missing.model
        self.waiting[model] += 1
        wait = _Wait()
        try:
            while self._catalog.lacks(model, missing.number):
                await self._look(model, wait)
                left_s = deadline.remaining_s()
                if left_s <= 0 or not await self._catalog.turn(left_s):
                    raise DeadlineExceeded(
                        f"the deadline passed while '{model}' was being loaded: "
                        f"{self._reason(model)}"
                    )
        finally:
            self.waiting[model] -= 1
            if not self.waiting[model]:
                # Clients make the names up.
                del self.waiting[model]

    async def _look(self, model: str, wait: _Wait) -> None:
        snapshot = self._catalog.snapshot
        latest, result = snapshot.load_requests.get(model), snapshot.result_of(model)
        error = "" if result is None else result.error
        if wait.load_request is None:
            if latest is None or latest.unload or error:
                await self._request_load(latest, model, wait)
            else:
                wait.follow(latest.id, seen=True)
        elif latest is not None and latest.id == wait.load_request:
            wait.seen = True
            if error:
                raise OnDemandFailed(model, error)
        elif wait.seen and latest is not None and latest.unload:
            raise OnDemandFailed(model, latest.reason or "it was unloaded meanwhile")
        elif wait.seen or monotonic() > wait.late_s:
            wait.load_request = None

    async def _request_load(
        self, latest: cluster_pb2.LoadRequest | None, model: str, wait: _Wait
    ) -> None:
        """Ask for *model*, unless another request has done so already."""
        replaced = latest.id if latest is not None else ""
        before, until_s = self._replaced.get(model, (None, 0.0))
        if before == replaced and monotonic() < until_s:
            return
        # For a while: that load request may get lost, or be forgotten, and then somebody must load
        # request again.
        self._replaced[model] = replaced, monotonic() + _LOST_S
        load_request = cluster_pb2.LoadRequest(
            model=model, id=new_id(), time_ms=self._catalog.snapshot.now_ms, reason="asked for"
        )
        if latest is not None and latest.unload and latest.reason:
            # It made room: what came with the load before comes with this one.
            load_request.files.extend(latest.files)
            if latest.HasField("config"):
                load_request.config = latest.config
        try:
            if await self._load_requests.replace(latest, load_request):
                wait.follow(load_request.id, seen=False)
        except BaseException:
            # Its client may have given up in the middle.
            self._replaced.pop(model, None)
            raise

    def _reason(self, model: str) -> str:
        newest = self._catalog.rollout.newest.items()
        reasons = [state.reason for id_, state in newest if id_.model == model and state.reason]
        return "; ".join(reasons) or "it waits for a scheduler"
