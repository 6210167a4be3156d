"""Tokens of an identity provider: which are believed, and what they say of their callers."""

import base64
import hmac
import json

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from penstock.errors import InvalidConfiguration, Unauthenticated
from penstock.gateway.access import tokens as module
from penstock.gateway.access.authenticator import Authenticator
from penstock.gateway.access.caller import Scope
from penstock.gateway.access.identity import terms_of
from penstock.gateway.access.key_sets import KeySets, check_place, keys_in
from penstock.gateway.access.tokens import Tokens, TokenTerms, team_name
from penstock.settings import GatewaySettings

NOW_S = 1_800_000_000
TERMS = TokenTerms("https://issuer", "penstock")
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
STRANGER = RSAKey.generate_key(2048, {"kid": "rsa"})
CLAIMS = {
    "iss": "https://issuer",
    "aud": "penstock",
    "sub": "vision",
    "exp": NOW_S + 600,
    "scope": "openid penstock:infer penstock:fly infer",
}


def signed(key=RSA, algorithm="RS256", header=None, **changes):
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    head = {"alg": algorithm, "kid": key.kid} | (header or {})
    return jwt.encode(head, claims, key, algorithms=[algorithm])


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def public(*keys):
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """What time it is; a list, whose only entry is to be changed."""
    now = [float(NOW_S)]
    monkeypatch.setattr(module, "time", lambda: now[0])
    return now


@pytest.fixture
def tokens():
    made = Tokens(TERMS)
    made.believe(keys_in(public(RSA, EC)))
    return made


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (EC, "ES256")])
def test_a_token_tells_the_caller(tokens, key, algorithm):
    caller = tokens.caller_of(signed(key, algorithm, penstock_models=["ocr-*", 7]))

    assert (caller.name, caller.scopes, caller.models) == ("vision", {Scope.INFER}, ("ocr-*",))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://another"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"aud": ["another"]},
        {"exp": None},
        {"exp": NOW_S - 60},
        {"exp": "tomorrow"},
        {"nbf": NOW_S + 600},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
    ],
)
def test_what_the_claims_must_be_is_held_against_them(tokens, changes):
    with pytest.raises(Unauthenticated):
        tokens.caller_of(signed(**changes))


def test_a_strangers_signature_is_not_believed(tokens):
    with pytest.raises(Unauthenticated):
        tokens.caller_of(signed(STRANGER))


def test_an_algorithm_that_was_not_named_is_not_believed(tokens):
    with pytest.raises(Unauthenticated):
        tokens.caller_of(signed(RSA, "RS512"))


def test_a_token_without_a_signature_is_not_believed(tokens):
    for algorithm in ("none", "None", "NONE"):
        with pytest.raises(Unauthenticated):
            tokens.caller_of(f"{part({'alg': algorithm, 'kid': 'rsa'})}.{part(CLAIMS)}.")


def test_a_public_key_is_no_shared_secret(tokens):
    """What checks a signature is known to all: signing with it must not be believed."""
    head, body = part({"alg": "HS256", "kid": "rsa"}), part(CLAIMS)
    made = hmac.digest(RSA.as_pem(private=False), f"{head}.{body}".encode(), "sha256")
    signature = base64.urlsafe_b64encode(made).decode().rstrip("=")

    with pytest.raises(Unauthenticated):
        tokens.caller_of(f"{head}.{body}.{signature}")


def test_secrets_in_a_key_set_are_passed_over():
    keys = json.dumps({"keys": [OctKey.generate_key().as_dict(), EC.as_dict(private=False)]})

    assert [key.kid for key in keys_in(keys.encode())] == ["ec"]


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"keys": []}', b'{"keys": [1]}', b"\xff"])
def test_what_is_no_key_set_is_refused(content):
    with pytest.raises(ValueError, match="no set of public keys"):
        keys_in(content)


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "x" * 20_000, "ä.b.c", "e30.e30.e30"])
def test_what_is_no_token_is_refused_without_a_word_of_it(tokens, text):
    with pytest.raises(Unauthenticated) as caught:
        tokens.caller_of(text)

    assert len(text) < 4 or text not in str(caught.value)


def test_a_verified_token_is_known_for_a_minute(tokens, clock, monkeypatch):
    token = signed()
    caller = tokens.caller_of(token)
    monkeypatch.setattr(tokens, "_verified", lambda *_: pytest.fail("it is verified again"))

    clock[0] += 59

    assert tokens.caller_of(token) is caller


def test_a_known_token_expires_in_time(tokens, clock):
    token = signed(exp=NOW_S + 5)
    tokens.caller_of(token)

    clock[0] += 36

    with pytest.raises(Unauthenticated, match="expired"):
        tokens.caller_of(token)


def test_a_key_that_is_gone_is_not_believed_any_more(tokens):
    token = signed()
    tokens.caller_of(token)

    tokens.believe(keys_in(public(EC)))

    with pytest.raises(Unauthenticated, match="not known here"):
        tokens.caller_of(token)
    assert tokens.unknown_key


@pytest.mark.parametrize("claimed", ["auth0|62", "system:serviceaccount:a:b", "ä", "-", "x" * 99])
def test_a_name_that_no_team_can_have_becomes_one_of_its_own(claimed):
    name = team_name(claimed)

    assert team_name(name) == name
    assert name != team_name(claimed + "x")


async def test_a_file_of_keys_is_read_again_and_one_that_is_broken_changes_nothing(tmp_path):
    file, tokens = tmp_path / "jwks", Tokens(TERMS)
    file.write_bytes(public(RSA))
    sets = KeySets(str(file), tokens)
    with pytest.raises(Unauthenticated, match="not known here yet"):
        tokens.caller_of(signed())
    assert await sets.read()
    assert tokens.caller_of(signed()).name == "vision"

    file.write_bytes(b"half of a file")
    assert not await sets.read()
    assert tokens.caller_of(signed()).name == "vision"

    file.write_bytes(public(EC))
    assert await sets.read()
    assert tokens.caller_of(signed(EC, "ES256")).name == "vision"


@pytest.mark.parametrize("place", ["http://issuer/keys", "ftp://issuer", "/nowhere/jwks"])
def test_keys_come_from_a_file_or_over_https(place):
    with pytest.raises(InvalidConfiguration, match="--jwt-jwks"):
        check_place(place)


def test_with_tokens_callers_need_a_credential_and_keys_are_good_too():
    tokens = Tokens(TERMS)
    tokens.believe(keys_in(public(RSA)))
    authenticator = Authenticator("auto", tokens=tokens)
    shown = (("authorization", f"Bearer {signed()}"),)

    assert authenticator.caller_of(shown, "").name == "vision"
    with pytest.raises(Unauthenticated, match="keys create"):
        authenticator.caller_of((), "")


WHOLE = {"jwt_jwks": "/k", "jwt_issuer": "i", "jwt_audience": "a"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"jwt_jwks": "/k"}, "needs --jwt-issuer and --jwt-audience"),
        ({"jwt_issuer": "i", "jwt_audience": "a"}, "need --jwt-jwks"),
        (WHOLE | {"jwt_algorithms": ("HS256",)}, "HS256 cannot be"),
        (WHOLE | {"jwt_algorithms": ("none",)}, "none cannot be"),
        (WHOLE | {"jwt_algorithms": ()}, "nothing cannot be"),
    ],
)
def test_settings_that_let_others_in_are_refused(given, said):
    with pytest.raises(InvalidConfiguration, match=said):
        terms_of(GatewaySettings(redis="unix:///none", **given))
