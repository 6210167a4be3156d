"""The authenticator: which caller a credential belongs to, by the keys that the registry has.

A gateway has them in memory: no call asks the store. Whether callers need one is decided once and
never taken back while the process runs: a key that is revoked, and a store that lost its data, open
nothing (ADR 0036).
"""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from math import inf
from time import time
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote

import structlog

from penstock.errors import ModelNotReady, PermissionDenied, Unauthenticated
from penstock.gateway.access.api_key import hash_of, id_in
from penstock.gateway.access.caller import ANYBODY, EVERY_MODEL, EXPIRED, Caller, Scope
from penstock.gateway.access.tokens import Tokens
from penstock.protos import cluster_pb2 as pb

log = structlog.get_logger()

Auth = Literal["auto", "keys", "none"]
Metadata = Iterable[tuple[str, str | bytes]]

_HEADER: Final = "authorization"
_SCHEME: Final = "bearer "
_MISSING: Final = (
    "this needs a key: send it as 'authorization: Bearer psk_...'; whoever runs this cluster makes "
    "one with 'penstock keys create'"
)
_MISTYPED: Final = "this is no key of Penstock's: a part of it is missing or mistyped"
_UNKNOWN: Final = "this key is unknown here, or it was revoked: ask for another"


class _Secret(NamedTuple):
    """One secret of a key, and whoever shows it."""

    sha256: bytes
    caller: Caller


class _Known(NamedTuple):
    """A key as the authenticator knows it.

    Attributes:
        record: that it was read from.
        by_certificate: whoever shows a certificate with one of the key's names.
        networks: that it may come from; None for any.
    """

    record: pb.AccessKey
    secrets: tuple[_Secret, ...]
    by_certificate: Caller
    networks: "tuple[IPv4Network | IPv6Network, ...] | None"

    def callers(self) -> list[Caller]:
        return [self.by_certificate, *(secret.caller for secret in self.secrets)]


class Authenticator:
    """Finds the caller of each call.

    Attributes:
        asks: whether callers need a credential.
        records: of all keys, as the registry had them last.
        apart: administration has a port of its own, and is refused at all others.
        refused: how many calls were turned away for what their caller may not, or is not.
    """

    def __init__(
        self, auth: Auth, parent_key: str | None = None, tokens: Tokens | None = None
    ) -> None:
        """Ask for keys or not.

        Args:
            auth: "auto" asks for keys once there has been one, "keys" always, "none" never.
            parent_key: by which the process that started this one may read, whatever keys there
                are.
            tokens: tells the callers of tokens; where there are any, "auto" asks always.
        """
        self._tokens = tokens
        self._parents = _parents(parent_key)
        self._auth = auth
        self._known = self._lost = False
        self.records: Mapping[str, pb.AccessKey] = {}
        self._keys: Mapping[str, _Known] = {}
        self._by_certificate: Mapping[str, _Known] = {}
        self._verified: dict[bytes, tuple[_Known, Caller]] = {}
        self.asks = auth == "keys" or (auth == "auto" and tokens is not None)
        self.refused = 0
        self.apart = False

    def __repr__(self) -> str:
        return f"Authenticator({'asks' if self.asks else 'open'}, {len(self._keys)} keys)"

    @property
    def undecided(self) -> bool:
        """Whether the registry has not been read yet, which decides whether callers need keys."""
        return self._auth == "auto" and not self._known

    def update(self, records: Mapping[str, pb.AccessKey]) -> None:
        """Go by *records*, all that the registry has, from now on."""
        if self._known and records is self.records:
            return
        if self.records and not records:
            # A key that is revoked stays on record: this is a loss, and no end of keys.
            if not self._lost:
                log.error("the registry has lost all keys: those that are known here stay good")
            self._lost = True
            return
        self._lost = False
        self._known, self.records = True, records
        if records and self._auth == "auto" and not self.asks:
            self.asks = True
            log.info("callers need keys from now on", keys=len(records))
        before = self._keys
        self._verified.clear()
        self._keys = {
            id_: self._of(record, before.get(id_))
            for id_, record in records.items()
            if not record.revoked_ms
        }
        for id_, known in before.items():
            if (now := self._keys.get(id_)) is not known:
                _end(known, now)
        self._by_certificate = {
            name: known for known in self._keys.values() for name in known.record.certificates
        }

    def caller_of(
        self, metadata: Metadata, connection: str, certificate: Sequence[str] = ()
    ) -> Caller:
        """Who calls.

        Args:
            metadata: what came beside the request; names in lower case.
            connection: names the connection that it came over, as gRPC does.
            certificate: names in the client's certificate, which is verified.

        Raises:
            Unauthenticated, PermissionDenied: with what to do.
            ModelNotReady: the keys are not known yet.
        """
        if not self.asks:
            if self.undecided:
                raise ModelNotReady("this gateway is starting: its keys are not known yet")
            return ANYBODY
        credential = _credential(metadata)
        if credential is None:
            known, caller = self._certified(certificate)
        elif self._tokens is not None and not credential.startswith("psk_"):
            return self._tokens.caller_of(credential)
        else:
            known, caller = self._shown(credential)
        if caller.expires_s != inf and time() > caller.expires_s:
            raise Unauthenticated(EXPIRED)
        if known.networks is not None and not _within(connection, known.networks):
            raise PermissionDenied(
                f"the key {caller.key} of {caller.name} may not be used from this address: "
                f"it is for {', '.join(known.record.networks)}"
            )
        return caller

    def _shown(self, credential: str) -> tuple[_Known, Caller]:
        shown = hash_of(credential)
        before = self._verified.get(shown)
        if before is not None:
            return before
        id_ = id_in(credential)
        if id_ is None:
            raise Unauthenticated(_MISTYPED)
        known = self._keys.get(id_) or self._parents.get(id_)
        if known is None:
            raise Unauthenticated(_UNKNOWN)
        found = None
        for secret in known.secrets:
            if hmac.compare_digest(shown, secret.sha256):
                found = secret.caller
        if found is None:
            raise Unauthenticated(_UNKNOWN)
        # There are no more of them than secrets: only what was found to be one comes here.
        self._verified[shown] = known, found
        return known, found

    def _certified(self, certificate: Sequence[str]) -> tuple[_Known, Caller]:
        for name in certificate:
            if (known := self._by_certificate.get(name)) is not None:
                return known, known.by_certificate
        raise Unauthenticated(_MISSING)

    def _of(self, record: pb.AccessKey, before: _Known | None) -> _Known:
        """The key of *record*; callers that are known already stay the same objects."""
        if before is not None and (before.record is record or before.record == record):
            return before
        secrets, certified = {}, None
        if before is not None:
            secrets = {one.sha256: one.caller for one in before.secrets}
            same = before.record.certificates == record.certificates
            certified = before.by_certificate if same else None
        return _Known(
            record,
            tuple(
                _Secret(one.sha256, _same(secrets.get(one.sha256), _caller(record, one.expires_ms)))
                for one in record.secrets
            ),
            _same(certified, _caller(record, 0)),
            _networks(record),
        )


def _parents(key: str | None) -> dict[str, _Known]:
    """The key of the process that started this one, by its id."""
    if key is None or (id_ := id_in(key)) is None:
        return {}
    record = pb.AccessKey(id=id_, team="penstock", scopes=[Scope.READ], models=EVERY_MODEL)
    caller = _caller(record, 0)
    return {id_: _Known(record, (_Secret(hash_of(key), caller),), caller, None)}


def _same(before: Caller | None, now: Caller) -> Caller:
    """*before*, where it is what *now* is."""
    if before is None or (before.scopes, before.models) != (now.scopes, now.models):
        return now
    before.expires_s = now.expires_s
    return before


def _end(known: _Known, now: _Known | None) -> None:
    """Tell calls that go on that what let them in is no longer good."""
    left = [] if now is None else now.callers()
    for caller in known.callers():
        if caller not in left:
            caller.ended = _UNKNOWN


def _caller(record: pb.AccessKey, expires_ms: int) -> Caller:
    ends = [ms / 1000 for ms in (record.expires_ms, expires_ms) if ms]
    scopes = [scope for scope in Scope if scope in record.scopes]
    return Caller(record.team, record.id, scopes, record.models, min(ends, default=inf))


def _networks(record: pb.AccessKey) -> "tuple[IPv4Network | IPv6Network, ...] | None":
    """The key's networks; a text that is none lets nobody in."""
    if not record.networks:
        return None
    found = []
    for text in record.networks:
        with suppress(ValueError):
            found.append(ip_network(text))
    return tuple(found)


def _credential(metadata: Metadata) -> str | None:
    """What was shown; None without any.

    Raises:
        Unauthenticated: there are several, or it is of another kind.
    """
    found: str | bytes | None = None
    for name, value in metadata:
        if name == _HEADER:
            if found is not None:
                raise Unauthenticated("there are several credentials: send one")
            found = value
    if found is None:
        return None
    if isinstance(found, bytes) or found[: len(_SCHEME)].lower() != _SCHEME:
        raise Unauthenticated("the credential is of another kind: " + _MISSING)
    return found[len(_SCHEME) :].strip()


def _within(connection: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Whether *connection*, as in "ipv4:10.0.0.1:5" or "ipv6:[::1]:5", comes from one of them."""
    host = unquote(connection).partition(":")[2].rpartition(":")[0].strip("[]")
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any(one in network for network in networks for one in (address, mapped) if one)
