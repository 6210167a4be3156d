"""Records of keys: made, rotated and revoked. Pure: what is given is not changed."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

from penstock.errors import InvalidConfiguration
from penstock.gateway.access.api_key import Minted
from penstock.gateway.access.caller import EVERY_MODEL, Scope
from penstock.protos import cluster_pb2 as pb

DEFAULT_SCOPES: Final = (Scope.INFER, Scope.READ)

TEAM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
_MOST_WORDS: Final = 64
_LONGEST: Final = 256
_SECRETS: Final = 2


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key is for.

    Attributes:
        team: whose it is.
        scopes: what its callers may do, as in "infer".
        models: globs of the models.
        networks: that it may come from, as in "10.0.0.0/8"; none for any.
        certificates: names in client certificates that count as the key.
        ttl_ms: how long it is good; None for ever.
    """

    team: str
    scopes: Sequence[str] = DEFAULT_SCOPES
    models: Sequence[str] = EVERY_MODEL
    networks: Sequence[str] = ()
    certificates: Sequence[str] = ()
    ttl_ms: int | None = None

    def check(self) -> None:
        """Refuse what no key can be for.

        Raises:
            InvalidConfiguration: with what to do.
        """
        if TEAM.fullmatch(self.team) is None:
            raise InvalidConfiguration(
                f"'{self.team}' cannot be a team's name: it has 1 to 63 letters, digits, "
                "dots, dashes and underscores, and begins with a letter or digit"
            )
        if not self.scopes:
            raise InvalidConfiguration(f"a key without a scope is for nothing: {_choices()}")
        for scope in self.scopes:
            if scope not in list(Scope):
                raise InvalidConfiguration(f"there is no scope '{scope}': {_choices()}")
        for network in self.networks:
            try:
                ip_network(network)
            except ValueError as error:
                raise InvalidConfiguration(
                    f"'{network}' is no network: write one as in 10.0.0.0/8 or 2001:db8::/32 "
                    f"({error})"
                ) from error
        for words in (self.models, self.networks, self.certificates):
            _check_words(words)


def made(id_: str, grant: Grant, secret: Minted | None, now_ms: int) -> pb.AccessKey:
    """A new key.

    Args:
        secret: its first; None for one that certificates alone stand for.

    Raises:
        InvalidConfiguration: there can be no such key.
    """
    grant.check()
    if secret is None and not grant.certificates:
        raise InvalidConfiguration("a key needs a secret, or the name of a certificate")
    secrets = [] if secret is None else [pb.AccessSecret(sha256=secret.sha256, created_ms=now_ms)]
    return pb.AccessKey(
        id=id_,
        team=grant.team,
        scopes=sorted(set(grant.scopes)),
        models=grant.models,
        networks=grant.networks,
        certificates=grant.certificates,
        secrets=secrets,
        created_ms=now_ms,
        expires_ms=0 if grant.ttl_ms is None else now_ms + grant.ttl_ms,
    )


def rotated(record: pb.AccessKey, secret: Minted, now_ms: int, grace_ms: int) -> pb.AccessKey:
    """*record* with a new secret; the one before is taken for *grace_ms* yet.

    Raises:
        InvalidConfiguration: it was revoked, or has expired.
    """
    if record.revoked_ms:
        raise InvalidConfiguration(f"the key {record.id} was revoked: make another")
    if record.expires_ms and record.expires_ms <= now_ms:
        raise InvalidConfiguration(f"the key {record.id} has expired: make another")
    after = pb.AccessKey()
    after.CopyFrom(record)
    left = [one for one in record.secrets if not one.expires_ms or one.expires_ms > now_ms]
    del after.secrets[:]
    for one in left[1 - _SECRETS :] if grace_ms else ():
        ends_ms = now_ms + grace_ms
        expires_ms = min(one.expires_ms or ends_ms, ends_ms)
        after.secrets.add(sha256=one.sha256, created_ms=one.created_ms, expires_ms=expires_ms)
    after.secrets.add(sha256=secret.sha256, created_ms=now_ms)
    return after


def revoked(record: pb.AccessKey, now_ms: int) -> pb.AccessKey:
    """*record* as it stays: nobody is let in by it."""
    after = pb.AccessKey()
    after.CopyFrom(record)
    after.revoked_ms = record.revoked_ms or now_ms
    del after.secrets[:]
    return after


def state_of(record: pb.AccessKey, now_ms: int) -> str:
    """In a word: "good", "expired" or "revoked"."""
    if record.revoked_ms:
        return "revoked"
    return "expired" if record.expires_ms and record.expires_ms <= now_ms else "good"


def _check_words(words: Iterable[str]) -> None:
    found = list(words)
    if len(found) > _MOST_WORDS:
        raise InvalidConfiguration(f"a key may name {_MOST_WORDS} of a kind, not {len(found)}")
    for word in found:
        if not word or len(word) > _LONGEST or not word.isprintable():
            raise InvalidConfiguration(
                f"{word[:_LONGEST]!r} cannot be a name: it has 1 to {_LONGEST} printable characters"
            )


def _choices() -> str:
    return f"choose among {', '.join(Scope)}"
