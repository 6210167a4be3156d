"""What a call needs before its method is reached: a caller, and headers of restricted protocols.

Callers and what they may are `penstock.gateway.access`. Restricted protocols are groups of RPCs, by
Triton's names. A rule is written ``<protocols>:<key>=<value>``: calls of the named groups, parted
by commas, must carry the header ``triton-grpc-protocol-<key>`` with that value, which keeps out
only who does not know it. Once there is a rule, a method that belongs to no group is refused.
"""

import hmac
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from penstock.errors import (
    Code,
    InvalidConfiguration,
    PenstockError,
    PermissionDenied,
    Unauthenticated,
)
from penstock.gateway.access.authenticator import Authenticator
from penstock.gateway.access.caller import ANYBODY, Caller, Scope
from penstock.gateway.access.needs import ADMINISTRATION, RPCS, Models, Need
from penstock.gateway.fronts.grpc.rpc import Method, Methods, Rpc
from penstock.gateway.fronts.grpc.statuses import end_with
from penstock.gateway.requests.call import Call

_HEADER: Final = "triton-grpc-protocol-"
_INFERENCE: Final = "inference.GRPCInferenceService/"

PROTOCOLS: Final[Mapping[str, tuple[str, ...]]] = {
    "health": (
        *(f"{_INFERENCE}{name}" for name in ("ServerLive", "ServerReady", "ModelReady")),
        "grpc.health.v1.Health/Check",
    ),
    "metadata": (f"{_INFERENCE}ServerMetadata", f"{_INFERENCE}ModelMetadata"),
    "inference": (f"{_INFERENCE}ModelInfer", f"{_INFERENCE}ModelStreamInfer"),
    "shared-memory": (f"{_INFERENCE}SystemSharedMemory", f"{_INFERENCE}CudaSharedMemory"),
    "model-config": (f"{_INFERENCE}ModelConfig",),
    "model-repository": (f"{_INFERENCE}Repository",),
    "statistics": (f"{_INFERENCE}ModelStatistics",),
    "trace": (f"{_INFERENCE}TraceSetting",),
    "logging": (f"{_INFERENCE}LogSettings",),
    "cluster": ("penstock.v1.Cluster/",),
    "reflection": ("grpc.reflection.",),
}
"""Group -> beginnings of the methods in it; "cluster" and "reflection" are Penstock's own."""

OPEN: Final = ("grpc.health.v1.Health/Watch",)
"""In no group. Triton does not have it; gRPC's clients watch a server by themselves, can send no
header there, and would take the refusal for a server that must not be asked.
"""


class Restricted(PenstockError):
    """The call lacks the header that its protocol needs."""

    code = Code.UNAVAILABLE


@dataclass(frozen=True, slots=True)
class Rule:
    """The header that a group of methods needs."""

    header: str
    value: str


def parse_rules(texts: Iterable[str]) -> dict[str, Rule]:
    """Group -> its rule.

    Raises:
        InvalidConfiguration: a text is no rule, its value is empty, or two are for one group.
            What follows the equals sign is a secret, and in no error.
    """
    rules: dict[str, Rule] = {}
    for text in texts:
        names, colon, setting = text.partition(":")
        key, equals, value = setting.partition("=")
        if not (names and colon and key and equals):
            shown = text.partition("=")[0] + ("=..." if "=" in text else "")
            raise InvalidConfiguration(
                f"--grpc-restricted-protocol: '{shown}' is not <protocols>:<key>=<value>"
            )
        if not value.strip():
            raise InvalidConfiguration(
                f"--grpc-restricted-protocol: '{names}:{key}=' has no value, so that everybody "
                "would be let in: give it one (is a variable empty that it is taken from?)"
            )
        for name in names.split(","):
            if name not in PROTOCOLS:
                raise InvalidConfiguration(
                    f"--grpc-restricted-protocol: there is no protocol '{name}', "
                    f"only {', '.join(PROTOCOLS)}"
                )
            if name in rules:
                raise InvalidConfiguration(
                    f"--grpc-restricted-protocol: protocol '{name}' is restricted twice"
                )
            rules[name] = Rule(f"{_HEADER}{key.lower()}", value)
    return rules


def guarded(
    methods: Methods,
    authenticator: Authenticator,
    rules: Mapping[str, Rule],
    *,
    administers: bool = False,
) -> dict[str, Method]:
    """*methods*, which callers reach who may, with the headers that *rules* ask for.

    Args:
        administers: they are served at the port for that.
    """
    known = restricted(methods, rules)
    return {
        path: _for_callers(path.lstrip("/"), method, authenticator, administers=administers)
        for path, method in known.items()
    }


def _for_callers(
    path: str, method: Method, authenticator: Authenticator, *, administers: bool
) -> Method:
    need = RPCS.get(path)
    if need is None:
        return _refusing(method, PermissionDenied(f"nobody has said who may call {path}"))
    if need.scope is None:
        return method
    handle = method.handle

    def known(rpc: Rpc) -> Awaitable[bytes | None]:
        try:
            let_in(rpc, need, authenticator, administers=administers)
        except PenstockError as error:
            return _refuse(rpc, error)
        return handle(rpc)

    return method._replace(handle=known)


class Asking(Protocol):
    """What has a call."""

    call: Call


def let_in(
    asking: Asking, need: Need, authenticator: Authenticator, *, administers: bool = False
) -> None:
    """Put its caller into the call of *asking*, and let pass whoever has what it needs.

    Whoever has not is in the call as well: logs say who was refused.

    Args:
        administers: it came to the port for administration, or there is none.

    Raises:
        Unauthenticated, PermissionDenied: with what to do.
        ModelNotReady: the keys are not known yet.
    """
    try:
        call = asking.call
        caller = authenticator.caller_of(call.metadata, call.connection, call.certificate)
        if caller is ANYBODY or need.scope is None:
            return
        asking.call = call._replace(caller=caller)
        _check(caller, need, need.scope, elsewhere=authenticator.apart and not administers)
    except (Unauthenticated, PermissionDenied):
        authenticator.refused += 1
        raise


def _check(caller: Caller, need: Need, scope: Scope, *, elsewhere: bool) -> None:
    """Refuse what *caller* may not. *elsewhere*: administration has a port, which is not this."""
    caller.check_scope(scope)
    if elsewhere and scope in ADMINISTRATION:
        raise PermissionDenied("this is served at the port for administration alone")
    if need.models is Models.ALL:
        caller.check_all()


def restricted(methods: Methods, rules: Mapping[str, Rule]) -> dict[str, Method]:
    """*methods*, which refuse calls without the header that their protocol needs.

    Args:
        rules: group -> its rule; groups without one are open. Once there is one, a method that is
            in no group is refused.
    """
    if not rules:
        return dict(methods)
    return {path: _restricted(path, method, rules) for path, method in methods.items()}


def _restricted(path: str, method: Method, rules: Mapping[str, Rule]) -> Method:
    group = group_of(path.lstrip("/"))
    if path.lstrip("/") in OPEN:
        return method
    if group is None:
        text = "This method is in no protocol, and some are restricted"
        return _refusing(method, Restricted(text))
    rule = rules.get(group)
    if rule is None:
        return method
    text = f"This protocol is restricted, expecting header '{rule.header}'"
    refusing = _refusing(method, Restricted(text))

    def handle(rpc: Rpc) -> Awaitable[bytes | None]:
        sent = dict(rpc.call.metadata).get(rule.header, "")
        shown = sent if isinstance(sent, bytes) else sent.encode()
        lets_in = hmac.compare_digest(shown, rule.value.encode())
        return (method if lets_in else refusing).handle(rpc)

    return method._replace(handle=handle)


def group_of(method: str) -> str | None:
    """The group that *method* belongs to; None for one that is in none."""
    found = (name for name, starts in PROTOCOLS.items() if method.startswith(starts))
    return None if method in OPEN else next(found, None)


def _refusing(method: Method, error: PenstockError) -> Method:
    """*method*, which only refuses."""
    return method._replace(handle=lambda rpc: _refuse(rpc, error))


async def _refuse(rpc: Rpc, error: PenstockError) -> None:
    end_with(rpc, error)
