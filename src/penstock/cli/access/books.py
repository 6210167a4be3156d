"""Where `penstock keys` lists, makes and changes keys: in the store itself, or over a gateway."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from penstock.cli.access.store import url_of
from penstock.cli.ask.channel import Gateway, NoGateway, call
from penstock.errors import Code, PenstockError

if TYPE_CHECKING:
    from penstock.gateway.access.records import Grant
    from penstock.gateway.operations.key_book import Issued, KeyBook, Revoked
    from penstock.protos import cluster_pb2 as pb

T = TypeVar("T")


class NoBook(PenstockError):
    """Nobody answers who knows the keys."""

    code = Code.UNAVAILABLE


def book_of(redis: str | None, gateway: Gateway) -> "StoreBook | GatewayBook":
    """That of the store *redis*, if one is named, and otherwise that of *gateway*."""
    return GatewayBook(gateway) if redis is None else StoreBook(redis)


class StoreBook:
    """Keys in the store itself: whoever has its password may make keys."""

    def __init__(self, redis: str) -> None:
        self._redis = redis

    def listed(self) -> "list[pb.AccessKey]":
        """All that are on record."""
        return self._with_book(lambda book: book.listed())

    def create(self, grant: "Grant", *, secret: bool) -> "Issued":
        """Put a new key on record."""
        from penstock.gateway.access.api_key import new_id

        id_ = new_id()
        return self._with_book(lambda book: book.create(id_, grant, secret=secret), "key.created")

    def rotate(self, id_: str, grace_ms: int) -> "Issued":
        """Give a key a new secret."""
        return self._with_book(lambda book: book.rotate(id_, grace_ms), "key.rotated")

    def revoke(self, id_: str) -> "Revoked":
        """End a key."""
        return self._with_book(lambda book: book.revoke(id_), "key.revoked")

    def _with_book(self, act: "Callable[[KeyBook], Awaitable[T]]", done: str = "") -> T:
        """What *act* makes of the book; the audit log says what was *done* to a key."""
        from penstock.gateway.operations.key_book import Issued, KeyBook, Revoked
        from penstock.scheduler.registry.audit import AuditLog
        from penstock.scheduler.store.link import Links

        async def run(url: str) -> T:
            async with Links(url) as links:
                made = await act(KeyBook(links))
                if isinstance(made, Issued) or (isinstance(made, Revoked) and not made.before):
                    named = f"{made.record.team}/{made.record.id}"
                    await AuditLog(links).append("store", done, named)
                return made

        return asyncio.run(run(url_of(self._redis)))


class GatewayBook:
    """Keys over a gateway, for callers whose own key has the scope admin."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def listed(self) -> "list[pb.AccessKey]":
        """As `StoreBook.listed`."""
        from penstock.protos import cluster_pb2 as pb

        return list(self._ask("ListKeys", pb.ListKeysRequest()).keys)

    def create(self, grant: "Grant", *, secret: bool) -> "Issued":
        """As `StoreBook.create`."""
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
        """As `StoreBook.rotate`."""
        from penstock.protos import cluster_pb2 as pb

        return _issued(self._ask("RotateKey", pb.RotateKeyRequest(id=id_, grace_ms=grace_ms)))

    def revoke(self, id_: str) -> "Revoked":
        """As `StoreBook.revoke`."""
        from penstock.gateway.operations.key_book import Revoked
        from penstock.protos import cluster_pb2 as pb

        answer = self._ask("RevokeKey", pb.RevokeKeyRequest(id=id_))
        return Revoked(answer.key, answer.was_revoked)

    def _ask(self, name: str, request: Any) -> Any:
        try:
            return call(self._gateway, name, request)
        except NoGateway as error:
            raise NoBook(f"{error}; or name the store by PENSTOCK_REDIS or with --redis") from error


def _issued(answer: "pb.KeyResponse") -> "Issued":
    from penstock.gateway.operations.key_book import Issued

    return Issued(answer.key, answer.secret or None)
