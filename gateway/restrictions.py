"""Restricted protocols: groups of RPCs that need a header, by Triton's names.

A rule is written ``<protocols>:<key>=<value>``: calls of the named groups, parted by commas, must
carry the header ``triton-grpc-protocol-<key>`` with that value. This is no authentication: the
value travels as it is, so it keeps out only who does not know it.
"""

import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc

from penstock.errors import Code, InvalidConfiguration, PenstockError
from penstock.gateway.status import Context, abort

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
}
"""Group -> beginnings of the methods in it. Penstock's own service is the group "cluster".

Health/Watch, which Triton does not have, is in none: gRPC's clients watch a server by themselves,
can send no header there, and would take the refusal for a server that must not be asked.
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
        InvalidConfiguration: a text is no rule, or two are for one group.
    """
    rules: dict[str, Rule] = {}
    for text in texts:
        names, colon, setting = text.partition(":")
        key, equals, value = setting.partition("=")
        if not (names and colon and key and equals):
            raise InvalidConfiguration(
                f"--grpc-restricted-protocol: '{text}' is not <protocols>:<key>=<value>"
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
    """Refuses calls without the header that their protocol needs."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = rules
        self._by_method: dict[str, Rule | None] = {}

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> Handler:
        """The method's own handler, or one that refuses."""
        handler = await continuation(details)
        rule = self._rule_of(details.method)
        if handler is None or rule is None:
            return handler
        sent = dict(details.invocation_metadata or ()).get(rule.header, "")
        if hmac.compare_digest(str(sent).encode(), rule.value.encode()):
            return handler
        return _refusing(handler, rule)

    def _rule_of(self, method: str) -> Rule | None:
        if method not in self._by_method:
            found = (
                rule
                for name, rule in self._rules.items()
                if method.lstrip("/").startswith(PROTOCOLS[name])
            )
            self._by_method[method] = next(found, None)
        return self._by_method[method]


def _refusing(handler: Handler, rule: Rule) -> Handler:
    """A handler of the same kind as *handler*."""

    async def refuse(_: Any, context: Context) -> None:
        text = f"This protocol is restricted, expecting header '{rule.header}'"
        await abort(context, Restricted(text))

    if handler.request_streaming and handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(refuse)
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler(refuse)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(refuse)
    return grpc.unary_unary_rpc_method_handler(refuse)
