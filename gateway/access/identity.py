"""Whom a gateway believes: what its settings say of keys and tokens, put together."""

import importlib.util
from typing import NamedTuple

from penstock.errors import InvalidConfiguration
from penstock.gateway.access.authenticator import Authenticator
from penstock.gateway.access.key_sets import KeySets
from penstock.gateway.access.tokens import ALGORITHMS, Tokens, TokenTerms
from penstock.settings import GatewaySettings


class Identity(NamedTuple):
    """Who calls.

    Attributes:
        key_sets: keeps the keys of the tokens' issuer; None where there are no tokens.
    """

    authenticator: Authenticator
    key_sets: KeySets | None

    @classmethod
    def of(cls, settings: GatewaySettings) -> "Identity":
        """As *settings* have it.

        Raises:
            InvalidConfiguration: with what to do.
        """
        terms = terms_of(settings)
        tokens = None if terms is None else Tokens(terms)
        authenticator = Authenticator(settings.auth, settings.parent_key, tokens)
        if tokens is None or settings.jwt_jwks is None:
            return cls(authenticator, None)
        return cls(authenticator, KeySets(settings.jwt_jwks, tokens))


def terms_of(settings: GatewaySettings) -> TokenTerms | None:
    """Which tokens are believed; None where none are.

    Raises:
        InvalidConfiguration: with what to do.
    """
    if settings.jwt_jwks is None:
        if settings.jwt_issuer or settings.jwt_audience:
            raise InvalidConfiguration(
                "--jwt-issuer and --jwt-audience need --jwt-jwks: the keys that tokens are "
                "signed with"
            )
        return None
    if not (settings.jwt_issuer and settings.jwt_audience):
        raise InvalidConfiguration(
            "--jwt-jwks needs --jwt-issuer and --jwt-audience: a token for somebody else would "
            "be as good here"
        )
    unknown = [name for name in settings.jwt_algorithms if name not in ALGORITHMS]
    if unknown or not settings.jwt_algorithms:
        raise InvalidConfiguration(
            f"--jwt-algorithms: {', '.join(unknown) or 'nothing'} cannot be, only "
            f"{', '.join(ALGORITHMS)}"
        )
    if importlib.util.find_spec("joserfc") is None:
        raise InvalidConfiguration("--jwt-jwks needs the extra: pip install 'penstock[jwt]'")
    return TokenTerms(
        settings.jwt_issuer,
        settings.jwt_audience,
        settings.jwt_algorithms,
        settings.jwt_team_claim,
        settings.jwt_scope_claim,
        settings.jwt_models_claim,
    )
