"""Credentials: a key that goes with each call of a channel.

gRPC's own call credentials need TLS; a key is for the server to ask for, however it is reached.
"""

from collections.abc import Callable
from typing import Any, Final, Self

HEADER: Final = "authorization"


def with_token(channel: Any, token: str | None) -> Any:
    """*channel*, of grpc or grpc.aio, whose calls show *token*; itself without one."""
    return channel if token is None else _Showing(channel, token)


class _Showing:
    """A channel that adds the credential to what its calls say of themselves."""

    def __init__(self, channel: Any, token: str) -> None:
        self._channel = channel
        self._shown = (HEADER, f"Bearer {token.strip()}")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def __enter__(self) -> Self:
        self._channel.__enter__()
        return self

    def __exit__(self, *error: object) -> Any:
        return self._channel.__exit__(*error)

    async def __aenter__(self) -> Self:
        await self._channel.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> Any:
        return await self._channel.__aexit__(*error)

    def unary_unary(self, *terms: Any, **options: Any) -> Any:
        """As the channel's; so are the others."""
        return self._showing(self._channel.unary_unary(*terms, **options))

    def unary_stream(self, *terms: Any, **options: Any) -> Any:
        return self._showing(self._channel.unary_stream(*terms, **options))

    def stream_unary(self, *terms: Any, **options: Any) -> Any:
        return self._showing(self._channel.stream_unary(*terms, **options))

    def stream_stream(self, *terms: Any, **options: Any) -> Any:
        return self._showing(self._channel.stream_stream(*terms, **options))

    def _showing(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, metadata: Any = None, **options: Any) -> Any:
            return method(*arguments, metadata=(*(metadata or ()), self._shown), **options)

        return call
