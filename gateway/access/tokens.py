"""JSON web tokens, as an identity provider gives them: verified, and their claims made a caller.

Pure but for the time. A token that was verified is known by its hash for a minute, so that a call
costs a look-up. Whose keys are believed is `key_sets`.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import Any, Final

from penstock.errors import Unauthenticated
from penstock.gateway.access.caller import EVERY_MODEL, EXPIRED, Caller, Scope
from penstock.gateway.access.records import TEAM

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
)
"""Those with a public and a private key: what checks a signature can make none."""

KNOWN_S: Final = 60.0
_MOST_KNOWN: Final = 4096
_LONGEST: Final = 16384
_LEEWAY_S: Final = 30
_PREFIX: Final = "penstock:"
_MOST_GLOBS: Final = 64
_UNFIT: Final = re.compile(r"[^A-Za-z0-9_.-]", re.ASCII)
_LONGEST_PLAIN: Final = 40

Claims = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """Which tokens are believed, and what they say.

    Attributes:
        issuer, audience: that the token must name.
        algorithms: of `ALGORITHMS`.
        team_claim: has the caller's team.
        scope_claim: has the scopes, each as in "penstock:infer": a list, or one text with spaces.
        models_claim: has the globs of the models, likewise; without it they are all.
    """

    issuer: str
    audience: str
    algorithms: Sequence[str] = ("RS256", "ES256")
    team_claim: str = "sub"
    scope_claim: str = "scope"
    models_claim: str = "penstock_models"


class Tokens:
    """Tells the callers of tokens."""

    def __init__(self, terms: TokenTerms) -> None:
        self._terms = terms
        self._keys: Any = None
        self._known: dict[bytes, tuple[float, Caller]] = {}
        self.unknown_key = False

    def __repr__(self) -> str:
        return f"Tokens(of {self._terms.issuer}, {len(self._known)} known)"

    def believe(self, keys: Any) -> None:
        """Believe what *keys*, a `joserfc.jwk.KeySet`, has signed, and nothing else any more."""
        self._keys = keys
        self._known.clear()
        self.unknown_key = False

    def caller_of(self, token: str) -> Caller:
        """Whose *token* it is.

        Raises:
            Unauthenticated: it is not believed; why is said without a word of it.
        """
        name, now_s = hashlib.sha256(token.encode()).digest(), time()
        until_s, caller = self._known.get(name, (0.0, None))
        if caller is None or now_s > until_s:
            caller = caller_from(self._verified(token, now_s), self._terms)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[name] = now_s + KNOWN_S, caller
        if now_s > caller.expires_s:
            raise Unauthenticated(EXPIRED)
        return caller

    def _verified(self, token: str, now_s: float) -> Claims:
        from joserfc import errors, jwt

        if self._keys is None:
            raise Unauthenticated("the keys of the tokens' issuer are not known here yet")
        if len(token) > _LONGEST:
            raise Unauthenticated(f"the token has more than {_LONGEST} characters")
        terms = self._terms
        must = jwt.JWTClaimsRegistry(
            now=int(now_s),
            leeway=_LEEWAY_S,
            iss={"essential": True, "value": terms.issuer},
            aud={"essential": True, "value": terms.audience},
            exp={"essential": True},
        )
        try:
            claims: Claims = jwt.decode(token, self._keys, algorithms=list(terms.algorithms)).claims
            must.validate(dict(claims))
        except errors.InvalidKeyIdError:
            # The issuer may have a new one.
            self.unknown_key = True
            raise Unauthenticated("the token is signed with a key that is not known here") from None
        except errors.ExpiredTokenError:
            raise Unauthenticated("the token has expired: ask for another") from None
        except errors.ClaimError as error:
            raise Unauthenticated(
                f"the token's claim '{error.claim}' is not as it must be"
            ) from None
        except (errors.JoseError, ValueError, TypeError, AttributeError):
            # No error of the library is passed on: it may repeat what was sent.
            raise Unauthenticated("the token is no token that is believed here") from None
        return claims


def caller_from(claims: Claims, terms: TokenTerms) -> Caller:
    """The caller whom verified *claims* are about.

    Raises:
        Unauthenticated: they name no team.
    """
    team = claims.get(terms.team_claim)
    if not isinstance(team, str) or not team:
        raise Unauthenticated(f"the token names no team: it has no claim '{terms.team_claim}'")
    named = set(_words(claims.get(terms.scope_claim)))
    scopes = [scope for scope in Scope if _PREFIX + scope in named]
    given = claims.get(terms.models_claim)
    models = EVERY_MODEL if given is None else tuple(_words(given))[:_MOST_GLOBS]
    return Caller(team_name(team), "token", scopes, models, float(claims["exp"]) + _LEEWAY_S)


def team_name(claimed: str) -> str:
    """A team's name for what an issuer calls it: the same for the same, and no other's.

    Where it has characters that names have not, they are left out and its hash follows.
    """
    if TEAM.fullmatch(claimed):
        return claimed
    hashed = hashlib.sha256(claimed.encode()).hexdigest()[:16]
    return f"{_UNFIT.sub('-', claimed)[:_LONGEST_PLAIN].lstrip('_.-') or 'team'}.{hashed}"


def _words(given: object) -> Sequence[str]:
    if isinstance(given, str):
        return given.split()
    if isinstance(given, list):
        return [word for word in given if isinstance(word, str)]
    return ()
