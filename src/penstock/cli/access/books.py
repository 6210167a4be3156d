"""Where `penstock keys` lists, makes and changes keys: in the store itself, or over a gateway."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from penstock.cli.access.store import url_of
from penstock.cli.ask.channel import TIMEOUT_S, Gateway, NoGateway, channel_to, explained
from penstock.errors import Code, PenstockError

if TYPE_CHECKING:
    from penstock.gateway.access.records import Grant
    from penstock.gateway.operations.key_book import Issued, KeyBook, Revoked
    from penstock.protos import cluster_pb2 as pb

T = TypeVar("T")


class NoBook(PenstockError):
    """Nobody answers who knows the keys."""

    code = Code.UNAVAILABLE


class Book(Protocol):
    """As `KeyBook`, for a command."""

    def listed(self) -> "list[pb.AccessKey]":
        """All that are on record."""

    def create(self, grant: "Grant", *, secret: bool) -> "Issued":
        """Put a new key on record."""

    def rotate(self, id_: str, grace_ms: int) -> "Issued":
        """Give a key a new secret."""

    def revoke(self, id_: str) -> "Revoked":
        """End a key."""


def book_of(redis: str | None, gateway: Gateway) -> Book:
    """That of the store *redis*, if one is named, and otherwise that of *gateway*."""
    return GatewayBook(gateway) if redis is None else StoreBook(redis)


class StoreBook:
    """Keys in the store itself: whoever has its password may make keys."""

    def __init__(self, redis: str) -> None:
        self._redis = redis

    def listed(self) -> "list[pb.AccessKey]":
        """As `Book.listed`."""

        async def look(book: "KeyBook", _: Any) -> "list[pb.AccessKey]":
            return await book.listed()

        return self._with_book(look)

    def create(self, grant: "Grant", *, secret: bool) -> "Issued":
        """As `Book.create`."""
        from penstock.gateway.access.api_key import new_id

        async def add(book: "KeyBook", note: Any) -> "Issued":
            issued = await book.create(new_id(), grant, secret=secret)
            await note("key.created", issued.record)
            return issued

        return self._with_book(add)

    def rotate(self, id_: str, grace_ms: int) -> "Issued":
        """As `Book.rotate`."""

        async def replace(book: "KeyBook", note: Any) -> "Issued":
            issued = await book.rotate(id_, grace_ms)
            await note("key.rotated", issued.record)
            return issued

        return self._with_book(replace)

    def revoke(self, id_: str) -> "Revoked":
        """As `Book.revoke`."""

        async def end(book: "KeyBook", note: Any) -> "Revoked":
            revoked = await book.revoke(id_)
            if not revoked.before:
                await note("key.revoked", revoked.record)
            return revoked

        return self._with_book(end)

    def _with_book(self, act: "Callable[[KeyBook, Any], Awaitable[T]]") -> T:
        """What *act* makes of the book, and of what notes in the audit log what was done."""
        from penstock.gateway.operations.key_book import KeyBook
        from penstock.scheduler.registry.audit import AuditLog
        from penstock.scheduler.store.link import Links

        async def run(url: str) -> T:
            async with Links(url) as links:

                async def note(done: str, record: "pb.AccessKey") -> None:
                    await AuditLog(links).append("store", done, f"{record.team}/{record.id}")

                return await act(KeyBook(links), note)

        return asyncio.run(run(url_of(self._redis)))


class GatewayBook:
    """Keys over a gateway, for callers whose own key has the scope admin."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def listed(self) -> "list[pb.AccessKey]":
        """As `Book.listed`."""
        from penstock.protos import cluster_pb2 as pb

        return list(self._ask("ListKeys", pb.ListKeysRequest()).keys)

    def create(self, grant: "Grant", *, secret: bool) -> "Issued":
        """As `Book.create`."""
        from penstock.protos import cluster_pb2 as pb

        grant.check()
        request = pb.CreateKeyRequest(
            team=grant.team,
            scopes=grant.scopes,
            models=grant.models,
            networks=grant.networks,
            certificates=grant.certificates,
            ttl_ms=grant.ttl_ms or 0,
            without_secret=not secret,
        )
        return _issued(self._ask("CreateKey", request))

    def rotate(self, id_: str, grace_ms: int) -> "Issued":
        """As `Book.rotate`."""
        from penstock.protos import cluster_pb2 as pb

        return _issued(self._ask("RotateKey", pb.RotateKeyRequest(id=id_, grace_ms=grace_ms)))

    def revoke(self, id_: str) -> "Revoked":
        """As `Book.revoke`."""
        from penstock.gateway.operations.key_book import Revoked
        from penstock.protos import cluster_pb2 as pb

        answer = self._ask("RevokeKey", pb.RevokeKeyRequest(id=id_))
        return Revoked(answer.key, answer.was_revoked)

    def _ask(self, name: str, request: Any) -> Any:
        from penstock.protos import cluster_pb2_grpc

        try:
            with explained(self._gateway), channel_to(self._gateway) as channel:
                stub = cluster_pb2_grpc.ClusterStub(channel)  # type: ignore[no-untyped-call]
                return getattr(stub, name)(request, timeout=TIMEOUT_S)
        except NoGateway as error:
            raise NoBook(f"{error}; or name the store by PENSTOCK_REDIS or with --redis") from error


def _issued(answer: "pb.KeyResponse") -> "Issued":
    from penstock.gateway.operations.key_book import Issued

    return Issued(answer.key, answer.secret or None)
