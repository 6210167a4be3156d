"""What each RPC and each route needs of its caller: the one table.

What is not in it is refused. A test holds it against the descriptors and the routes.
"""

from enum import Enum, auto
from typing import Final, NamedTuple

from penstock.gateway.access.caller import Scope

_INFERENCE: Final = "inference.GRPCInferenceService/"
_CLUSTER: Final = "penstock.v1.Cluster/"
_REFLECTION: Final = "grpc.reflection.v1alpha.ServerReflection/"
_HEALTH: Final = "grpc.health.v1.Health/"


class Models(Enum):
    """Which models a call is about.

    NONE: none in particular. NAMED: the one that its request names. LISTED: as many as there are;
    the caller hears of those that are theirs. ALL: it is for callers who may use every model.
    """

    NONE = auto()
    NAMED = auto()
    LISTED = auto()
    ALL = auto()


class Need(NamedTuple):
    """What a call needs.

    Attributes:
        scope: that the caller must have; None: it is open to everybody.
        field: of the request, that has the model's name; where that is empty, all are meant.
        listed: field of the response that has one entry for each model.
    """

    scope: Scope | None
    models: Models = Models.NONE
    field: str = ""
    listed: str = ""


OPEN: Final = Need(None)

ADMINISTRATION: Final = (Scope.LOAD, Scope.ADMIN)
"""What needs one of these is served at --admin-port alone, where there is one, once callers need
keys.
"""


def _named(scope: Scope, field: str = "name") -> Need:
    return Need(scope, Models.NAMED, field)


_EVERYTHING: Final = Need(Scope.ADMIN, Models.ALL)

INFERENCE: Final[dict[str, Need]] = {
    "ServerLive": OPEN,
    "ServerReady": OPEN,
    "ServerMetadata": Need(Scope.READ),
    "ModelReady": _named(Scope.READ),
    "ModelMetadata": _named(Scope.READ),
    "ModelConfig": _named(Scope.READ),
    "ModelStatistics": Need(Scope.READ, Models.LISTED, "name", "model_stats"),
    # The model of each request is looked at where it is read, of a stream's as well.
    "ModelInfer": Need(Scope.INFER, Models.NAMED),
    "ModelStreamInfer": Need(Scope.INFER, Models.NAMED),
    "RepositoryIndex": Need(Scope.READ, Models.LISTED, listed="models"),
    "RepositoryModelLoad": _named(Scope.LOAD, "model_name"),
    "RepositoryModelUnload": _named(Scope.LOAD, "model_name"),
    # Each team has regions of its own, and whatever segments of this machine it can name.
    **{
        f"{kind}SharedMemory{verb}": _EVERYTHING
        for kind in ("System", "Cuda")
        for verb in ("Status", "Register", "Unregister")
    },
    "TraceSetting": _EVERYTHING,
    "LogSettings": _EVERYTHING,
}
"""By the name of the inference service's RPC; a route over HTTP needs what its RPC needs."""

RPCS: Final[dict[str, Need]] = {
    **{_INFERENCE + name: need for name, need in INFERENCE.items()},
    _CLUSTER + "Status": Need(Scope.READ, Models.ALL),
    _CLUSTER + "Events": _EVERYTHING,
    # They hold the inputs of requests, whoever sent them.
    _CLUSTER + "DeadLetters": _EVERYTHING,
    _CLUSTER + "RetryDeadLetter": _EVERYTHING,
    **{f"{_CLUSTER}{verb}": _EVERYTHING for verb in ("ListKeys", "CreateKey", "RotateKey")},
    _CLUSTER + "RevokeKey": _EVERYTHING,
    _REFLECTION + "ServerReflectionInfo": Need(Scope.READ),
    _HEALTH + "Check": OPEN,
    _HEALTH + "Watch": OPEN,
}
"""By "package.Service/Method"."""

METRICS: Final = Need(Scope.READ, Models.ALL)

ROUTES: Final[dict[str, Need]] = {
    "/livez": OPEN,
    "/readyz": OPEN,
    "/metrics": METRICS,
    # It is the same for everybody, and no secret.
    "/openapi.json": OPEN,
}
"""By the pattern of a route that stands for no RPC."""


def need_of_route(rpc: str, pattern: str) -> Need | None:
    """What a route of the REST protocol needs; None for one that nobody has thought of.

    Args:
        rpc: of the inference service, that the route stands for; empty where it stands for none.
    """
    return INFERENCE.get(rpc) if rpc else ROUTES.get(pattern)
