"""The gateway as the commands see it: one call, its answer, or an error that says what to do."""

import contextlib
import functools
import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from penstock.errors import Code, PenstockError
from penstock.process.child_process import TOKEN
from penstock.process.redaction import keep_secret
from penstock.transport.certificates import Names
from penstock.transport.credentials import NONE, Credentials

if TYPE_CHECKING:
    import grpc

    from penstock.client.access import Access
    from penstock.transport.addresses import Option

DEFAULT_URL = "127.0.0.1:8001"
TIMEOUT_S = 10.0
VARIABLES: Final = ("PENSTOCK_URL", "PENSTOCK_CA", "PENSTOCK_CERT", "PENSTOCK_KEY", TOKEN)
"""What these options are as variables."""

OPTIONS: Final = Names("--cert", "--key", "--ca")

_Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar=VARIABLES[0],
        metavar="HOST:PORT",
        help="The gateway; grpcs://HOST:PORT for TLS.",
    ),
]


def _file(name: str, variable: str | None, text: str) -> Any:
    option = typer.Option(name, envvar=variable, metavar="FILE", help=text, show_default=False)
    return Annotated[str | None, option]


_OWN: Final = {
    "url": _Url,
    "ca": _file("--ca", VARIABLES[1], "Authorities that are believed, for TLS."),
    "cert": _file("--cert", VARIABLES[2], "Certificate to prove oneself with."),
    "key": _file("--key", VARIABLES[3], "Its key."),
    "token": _file("--token", None, "A file with the token; or PENSTOCK_TOKEN is it."),
}


@dataclass(frozen=True, slots=True)
class Gateway:
    """The one that a command asks, and how the command gets in."""

    url: str = DEFAULT_URL
    credentials: Credentials = NONE

    def access(self) -> "Access":
        """How it gets in.

        Raises:
            InvalidConfiguration: it does not.
        """
        from penstock.client.access import Access

        return Access.of(self.url, self.credentials, OPTIONS)


def asks_a_gateway(command: Callable[..., None]) -> Callable[..., None]:
    """*command*, whose parameter `gateway` is the options --url, --ca, --cert, --key, --token."""

    @functools.wraps(command)
    def asking(**options: Any) -> None:
        url, ca, cert, key, token = (options.pop(name) for name in _OWN)
        secret = None if token else os.environ.get(TOKEN)
        keep_secret(secret)
        command(gateway=Gateway(url, Credentials(ca, cert, key, token, secret)), **options)

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters: list[inspect.Parameter] = []
    for name, one in inspect.signature(command, eval_str=True).parameters.items():
        if name != "gateway":
            parameters.append(one.replace(kind=keyword))
            continue
        for option, annotation in _OWN.items():
            default = DEFAULT_URL if option == "url" else None
            parameters.append(
                inspect.Parameter(option, keyword, default=default, annotation=annotation)
            )
    vars(asking)["__signature__"] = inspect.Signature(parameters)
    asking.__annotations__ = {one.name: one.annotation for one in parameters}
    return asking


_SHOW: Final = f"this command takes the key from --token FILE, or from the variable {TOKEN}"


class CallFailed(PenstockError):
    """The gateway answered with an error, or did not answer."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class NoGateway(PenstockError):
    """Nobody answers at the address, or not to this command."""

    code = Code.UNAVAILABLE

    def __init__(self, gateway: Gateway) -> None:
        """Ask once more, for the reason."""
        why = gateway.access().obstacle()
        remedy = why or "start one with 'penstock up', or name another with --url"
        super().__init__(f"no gateway answers at {gateway.url}: {remedy}")


def channel_to(gateway: Gateway, *options: "Option") -> "grpc.Channel":
    """A channel to the gateway, on which each call says who asks."""
    import grpc

    access = gateway.access()
    channel = access.channel(*options)
    if access.metadata() is None:
        return channel

    class Asking(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            metadata = access.metadata(tuple(details.metadata or ()))
            return continuation(details._replace(metadata=metadata), request)

    return grpc.intercept_channel(channel, Asking())


@contextlib.contextmanager
def explained(gateway: Gateway) -> Iterator[None]:
    """Turn gRPC's errors into ones for people."""
    import grpc

    from penstock.client.failures import nobody_answers

    try:
        yield
    except grpc.RpcError as error:
        code, details = error.code(), error.details() or ""
        if code is grpc.StatusCode.UNAUTHENTICATED:
            raise CallFailed(Code.UNAUTHENTICATED, f"{details} ({_SHOW})") from error
        if code is grpc.StatusCode.UNAVAILABLE and nobody_answers(details):
            raise NoGateway(gateway) from error
        raise CallFailed(Code(code.value[0]), f"{details} ({code.name})") from error


def call(
    gateway: Gateway,
    method: str,
    request: Any,
    timeout_s: float | None = TIMEOUT_S,
    options: "Sequence[Option]" = (),
) -> Any:
    """What the gateway answers to *request*, over a channel with *options*.

    Raises:
        CallFailed, NoGateway: it does not.
    """
    from penstock.client.channel import methods_on

    with explained(gateway), channel_to(gateway, *options) as channel:
        return methods_on(channel)[method](request, timeout=timeout_s)
