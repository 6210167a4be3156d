"""The gateway as the commands see it: one call, its answer, or an error that says what to do."""

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.errors import Code, PenstockError
from penstock.process.child_process import TOKEN

if TYPE_CHECKING:
    from penstock.transport.addresses import Option

URL_VARIABLE = "PENSTOCK_URL"
Url = Annotated[str, typer.Option(envvar=URL_VARIABLE, metavar="HOST:PORT", help="The gateway.")]
DEFAULT_URL = "127.0.0.1:8001"
TIMEOUT_S = 10.0
_SHOW = f"this command takes the key from the variable {TOKEN}"


class CallFailed(PenstockError):
    """The gateway answered with an error, or did not answer."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class NoGateway(PenstockError):
    """Nobody answers at the address."""

    code = Code.UNAVAILABLE

    def __init__(self, url: str) -> None:
        super().__init__(
            f"no gateway answers at {url}: start one with 'penstock up', or name another with --url"
        )


def token() -> str | None:
    """The caller's key, which is in no command line: everybody may read those."""
    from penstock.process.redaction import keep_secret

    found = os.environ.get(TOKEN) or None
    keep_secret(found)
    return found


def channel_to(url: str, *options: "Option") -> Any:
    """A channel to the gateway at *url*, a `grpc.Channel`; its calls show the caller's key."""
    import grpc

    from penstock.client.credentials import with_token
    from penstock.transport.addresses import proxy_options

    channel = grpc.insecure_channel(url, options=(*options, *proxy_options(url)))
    return with_token(channel, token())


@contextlib.contextmanager
def explained(url: str) -> Iterator[None]:
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
            raise NoGateway(url) from error
        raise CallFailed(Code(code.value[0]), f"{details} ({code.name})") from error
