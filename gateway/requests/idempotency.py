"""Idempotency keys: a client's name for a request that may come more than once.

A unary call has it in its metadata, under ``idempotency-key``; any request, one of a stream as
well, may have it as the parameter ``penstock_idempotency_key``. Pure.
"""

from collections.abc import Iterable
from typing import Final

from penstock.errors import InvalidRequest, Unimplemented
from penstock.gateway.replies.content_digest import KEY_PARAMETER
from penstock.protos.grpc_service_pb2 import ModelInferRequest
from penstock.scheduler.requests.checks import expect

METADATA: Final = "idempotency-key"

LONGEST_KEY: Final = 255


def metadata_key(metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
    """The key in the metadata of a call; None without one.

    Raises:
        InvalidRequest: there are several, or it cannot be a key.
    """
    found = None
    for name, value in metadata:
        if name == METADATA:
            if found is not None:
                raise InvalidRequest(f"a call can have one '{METADATA}', not several")
            found = checked_key(value)
    return found


def refuse_for_stream(metadata: Iterable[tuple[str, str | bytes]]) -> None:
    """A stream's metadata cannot name one of its requests.

    Raises:
        InvalidRequest: it tries to.
    """
    if any(name == METADATA for name, _ in metadata):
        raise InvalidRequest(
            f"the metadata '{METADATA}' cannot name one request of a stream: give each request "
            f"its own as the parameter '{KEY_PARAMETER}'"
        )


def refuse_of_many(request: ModelInferRequest) -> None:
    """The responses of a decoupled model are not kept.

    Raises:
        Unimplemented: *request* asks for that.
    """
    if KEY_PARAMETER in request.parameters:
        raise Unimplemented(
            f"'{KEY_PARAMETER}' is for models that answer each request once: a decoupled model's "
            "responses are not kept"
        )


def key_of(request: ModelInferRequest, given: str | None) -> str | None:
    """The key of *request*, from the metadata (*given*) or from its parameters.

    Raises:
        InvalidRequest: it has two that differ, or one that cannot be a key.
    """
    if KEY_PARAMETER not in request.parameters:
        return given
    value = request.parameters[KEY_PARAMETER]
    expect(KEY_PARAMETER, value, "string_param")
    key = checked_key(value.string_param)
    if given not in (None, key):
        raise InvalidRequest(
            f"the metadata '{METADATA}' and the parameter '{KEY_PARAMETER}' differ: give one"
        )
    return key


def checked_key(key: str | bytes) -> str:
    """*key*, if it can be one.

    Raises:
        InvalidRequest: it is too long, empty, or has other characters than printable ASCII.
    """
    if isinstance(key, bytes) or not 1 <= len(key) <= LONGEST_KEY or not is_printable(key):
        raise InvalidRequest(
            f"an idempotency key must have 1 to {LONGEST_KEY} printable ASCII characters, no spaces"
        )
    return key


def is_printable(key: str) -> bool:
    """Whether it has no other characters than printable ASCII, and no spaces."""
    return all("!" <= character <= "~" for character in key)
