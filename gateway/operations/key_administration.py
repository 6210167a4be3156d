"""Key administration: callers with the scope admin list, make and change keys over a gateway."""

from typing import Final

from penstock.errors import PermissionDenied
from penstock.gateway.access.api_key import KEY_ID, new_id
from penstock.gateway.access.caller import ANYBODY, EVERY_MODEL, Caller
from penstock.gateway.access.records import DEFAULT_SCOPES, Grant
from penstock.gateway.operations.auditing import Auditing
from penstock.gateway.operations.key_book import DAY_MS, Issued, KeyBook
from penstock.protos import cluster_pb2 as pb

_FIRST: Final = (
    "keys are made and changed by callers with a key; the first one is made in the store itself: "
    "'penstock keys create TEAM --scope admin --redis URL'"
)


class KeyAdministration:
    """Answers the four RPCs; each change is in the audit log."""

    def __init__(self, book: KeyBook, auditing: Auditing) -> None:
        self._book = book
        self._auditing = auditing

    async def listed(self, caller: Caller) -> pb.ListKeysResponse:
        """As `KeyBook.listed`."""
        _check(caller)
        return pb.ListKeysResponse(keys=map(_shown, await self._book.listed()))

    async def create(
        self, request: pb.CreateKeyRequest, caller: Caller, connection: str
    ) -> pb.KeyResponse:
        """As `KeyBook.create`."""
        _check(caller)
        id_ = new_id()
        act = "key.created", f"{request.team}/{id_}"
        making = self._book.create(id_, _grant(request), secret=not request.without_secret)
        return _answer(await self._auditing.noted(caller, connection, act, making))

    async def rotate(
        self, request: pb.RotateKeyRequest, caller: Caller, connection: str
    ) -> pb.KeyResponse:
        """As `KeyBook.rotate`."""
        _check(caller)
        grace_ms = request.grace_ms if request.HasField("grace_ms") else DAY_MS
        act = "key.rotated", _named(request.id)
        rotating = self._book.rotate(request.id, grace_ms)
        return _answer(await self._auditing.noted(caller, connection, act, rotating))

    async def revoke(
        self, request: pb.RevokeKeyRequest, caller: Caller, connection: str
    ) -> pb.RevokeKeyResponse:
        """As `KeyBook.revoke`."""
        _check(caller)
        act = "key.revoked", _named(request.id)
        revoking = self._book.revoke(request.id)
        ended = await self._auditing.noted(caller, connection, act, revoking)
        return pb.RevokeKeyResponse(key=_shown(ended.record), was_revoked=ended.before)


def _check(caller: Caller) -> None:
    """Where nobody needs a key, whoever made the first one would shut out all others.

    Raises:
        PermissionDenied: with what to do.
    """
    if caller is ANYBODY:
        raise PermissionDenied(_FIRST)


def _grant(request: pb.CreateKeyRequest) -> Grant:
    return Grant(
        request.team,
        tuple(request.scopes) or DEFAULT_SCOPES,
        tuple(request.models) or EVERY_MODEL,
        tuple(request.networks),
        tuple(request.certificates),
        request.ttl_ms or None,
    )


def _named(id_: str) -> str:
    """*id_*, unless it is something else, which might be a secret."""
    return id_ if KEY_ID.fullmatch(id_) else "no key"


def _shown(record: pb.AccessKey) -> pb.AccessKey:
    """*record* without its hashes, which are nobody's business."""
    shown = pb.AccessKey()
    shown.CopyFrom(record)
    for secret in shown.secrets:
        secret.ClearField("sha256")
    return shown


def _answer(issued: Issued) -> pb.KeyResponse:
    return pb.KeyResponse(key=_shown(issued.record), secret=issued.secret or "")
