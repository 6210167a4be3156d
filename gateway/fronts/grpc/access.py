"""Restricted protocols: groups of RPCs that need a header, by Triton's names.

A rule is written ``<protocols>:<key>=<value>``: calls of the named groups, parted by commas, must
carry the header ``triton-grpc-protocol-<key>`` with that value. This is no authentication: the
value travels as it is, so it keeps out only who does not know it. Once there is a rule, a method
that belongs to no group is refused.
"""

import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc

from penstock.errors import Code, InvalidConfiguration, PenstockError
from penstock.gateway.fronts.grpc.statuses import Context, end_with

_HEADER: Final = "triton-grpc-protocol-"
_INFERENCE: Final = "inference.GRPCInferenceService/"
_SHARED_MEMORY: Final = tuple(
    f"{_INFERENCE}{kind}SharedMemory{verb}"
    for kind in ("System", "Cuda")
    for verb in ("Status", "Register", "Unregister")
)

PROTOCOLS: Final[Mapping[str, tuple[str, ...]]] = {
    "health": (
        *(f"{_INFERENCE}{name}" for name in ("ServerLive", "ServerReady", "ModelReady")),
        "grpc.health.v1.Health/Check",
    ),
    "metadata": (f"{_INFERENCE}ServerMetadata", f"{_INFERENCE}ModelMetadata"),
    "inference": (f"{_INFERENCE}ModelInfer", f"{_INFERENCE}ModelStreamInfer"),
    "shared-memory": _SHARED_MEMORY,
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


Handler = Any
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]


class Restrictions(grpc.aio.ServerInterceptor):
    """Refuses calls without the header that their protocol needs.

    Args:
        rules: group -> its rule; groups without one are open.
        methods: all that the server has, as in "inference.GRPCInferenceService/ModelInfer". One
            that is not among them, or in no group, is refused.
    """

    def __init__(self, rules: Mapping[str, Rule], methods: Iterable[str]) -> None:
        groups = {f"/{method}": group_of(method) for method in methods}
        self._rules = {method: rules.get(group) for method, group in groups.items() if group}
        self._rules |= {f"/{method}": None for method in OPEN}

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> Handler:
        """The method's own handler, or one that refuses."""
        handler = await continuation(details)
        if handler is None:
            return None
        if details.method not in self._rules:
            return _refusing(handler, "This method is in no protocol, and some are restricted")
        rule = self._rules[details.method]
        if rule is None:
            return handler
        sent = dict(details.invocation_metadata or ()).get(rule.header, "")
        if hmac.compare_digest(_as_bytes(sent), rule.value.encode()):
            return handler
        return _refusing(handler, f"This protocol is restricted, expecting header '{rule.header}'")


def group_of(method: str) -> str | None:
    """The group that *method* belongs to; None for one that is in none."""
    found = (name for name, starts in PROTOCOLS.items() if method.startswith(starts))
    return None if method in OPEN else next(found, None)


def _as_bytes(sent: str | bytes) -> bytes:
    return sent if isinstance(sent, bytes) else sent.encode()


def _refusing(handler: Handler, text: str) -> Handler:
    """A handler of the same kind as *handler*."""

    async def refuse(_: Any, context: Context) -> None:
        end_with(context, Restricted(text))

    if handler.request_streaming and handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(refuse)
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler(refuse)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(refuse)
    return grpc.unary_unary_rpc_method_handler(refuse)
