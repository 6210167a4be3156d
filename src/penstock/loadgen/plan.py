"""What load to make, as a value that can be sent to the processes that make it."""

import json
from dataclasses import asdict, dataclass, replace

from penstock.errors import InvalidRequest
from penstock.transport.credentials import NONE, Credentials

METHOD = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True, slots=True)
class Plan:
    """One load: either a closed loop or an open one.

    Attributes:
        target: host:port of the gateway.
        requests: serialized requests, sent in turn.
        concurrency: closed loop: callers that each send again as soon as they have an answer.
        rate_per_s: open loop: requests a second at random (Poisson) times, whatever the answers do.
        connections: of each process.
        duration_s: what is measured, after the warm-up.
        timeout_s: deadline of each request; None leaves it to the server.
        connect_s: how long connecting may take.
        drain_s: how long answers may take after the last request was sent.
        method: the unary RPC that is called.
        credentials: how the processes get in; they go to them over their standard input.
    """

    target: str
    requests: tuple[bytes, ...]
    concurrency: int | None = None
    rate_per_s: float | None = None
    processes: int = 1
    connections: int = 1
    warmup_s: float = 1.0
    duration_s: float = 10.0
    timeout_s: float | None = None
    connect_s: float = 5.0
    drain_s: float = 30.0
    seed: int = 0
    method: str = METHOD
    credentials: Credentials = NONE

    def __post_init__(self) -> None:
        """Refuse a load that nobody can make."""
        if (self.concurrency is None) == (self.rate_per_s is None):
            raise InvalidRequest("give either a concurrency (closed loop) or a rate (open loop)")
        if self.concurrency is not None and self.concurrency < self.processes:
            raise InvalidRequest(
                f"{self.processes} processes cannot share a concurrency of {self.concurrency}"
            )
        if self.rate_per_s is not None and self.rate_per_s <= 0:
            raise InvalidRequest(f"a rate of {self.rate_per_s:g} requests/s sends nothing")
        if not self.requests or self.duration_s <= 0 or self.processes < 1:
            raise InvalidRequest("a load needs a request, a duration and a process")

    def shares(self) -> tuple["Plan", ...]:
        """The part of each process; together they are this load.

        The sum of independent Poisson processes is one of the summed rate.
        """
        return tuple(self._share(place) for place in range(self.processes))

    def _share(self, place: int) -> "Plan":
        mine = replace(self, processes=1, seed=self.seed * 1_000_003 + place)
        if self.concurrency is not None:
            each, left = divmod(self.concurrency, self.processes)
            return replace(mine, concurrency=each + (place < left))
        assert self.rate_per_s is not None  # noqa: S101 - __post_init__ holds it
        return replace(mine, rate_per_s=self.rate_per_s / self.processes)

    def to_bytes(self) -> bytes:
        """One line of JSON, then the requests one after the other."""
        fields = asdict(self) | {"requests": [len(request) for request in self.requests]}
        return json.dumps(fields).encode() + b"\n" + b"".join(self.requests)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Plan":
        """The plan that `to_bytes` wrote.

        Raises:
            InvalidRequest: it is another's, or cannot be.
        """
        line, _, rest = data.partition(b"\n")
        try:
            fields = json.loads(line)
            requests, start = [], 0
            for length in fields.pop("requests"):
                requests.append(rest[start : start + length])
                start += length
            credentials = Credentials(**fields.pop("credentials"))
            return cls(requests=tuple(requests), credentials=credentials, **fields)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InvalidRequest(f"this is no plan of a load: {error}") from error
