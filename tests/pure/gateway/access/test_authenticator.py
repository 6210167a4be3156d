"""Who a credential belongs to, by the keys that there are."""

import itertools

import pytest

from penstock.errors import ModelNotReady, PermissionDenied, Unauthenticated
from penstock.gateway.access.api_key import mint
from penstock.gateway.access.authenticator import Authenticator
from penstock.gateway.access.caller import ANYBODY, Caller, Scope
from penstock.gateway.access.records import Grant, made, revoked, rotated

HERE = "ipv4:127.0.0.1:4711"
NOW_MS = 1_800_000_000_000
IDS = ("".join(letters) for letters in itertools.product("abcdef", repeat=10))


class Key:
    """A key and its secrets, as whoever made it knows them."""

    def __init__(self, team="vision", **terms):
        self.id = next(IDS)
        self.secrets = [mint(self.id)]
        self.record = made(self.id, Grant(team, **terms), self.secrets[0], NOW_MS)

    def rotate(self, grace_ms, now_ms=NOW_MS):
        self.secrets.append(mint(self.id))
        self.record = rotated(self.record, self.secrets[-1], now_ms, grace_ms)

    def revoke(self):
        self.record = revoked(self.record, NOW_MS)


def knowing(*keys, auth="auto"):
    authenticator = Authenticator(auth)
    authenticator.update({key.id: key.record for key in keys})
    return authenticator


def show(authenticator, secret, connection=HERE, certificate=()):
    metadata = (("a", "b"), ("authorization", f"Bearer {secret.text}"), ("x-bin", b"\0"))
    return authenticator.caller_of(metadata, connection, certificate)


@pytest.fixture(autouse=True)
def _now(monkeypatch):
    """Keys are made at NOW_MS: it is a second later."""
    for module in ("authenticator", "caller"):
        monkeypatch.setattr(f"penstock.gateway.access.{module}.time", lambda: NOW_MS / 1000 + 1)


def test_a_secret_tells_the_caller():
    key = Key("vision", scopes=["infer"], models=["digits*"])

    caller = show(knowing(Key(), key), key.secrets[0])

    assert (caller.name, caller.key) == ("vision", key.id)
    assert caller.scopes == {Scope.INFER}
    assert caller.models == ("digits*",)


def test_a_caller_stays_the_same_object_while_the_key_does():
    key = Key()
    authenticator = knowing(key)
    before = show(authenticator, key.secrets[0])

    authenticator.update({key.id: key.record, (other := Key()).id: other.record})

    assert show(authenticator, key.secrets[0]) is before


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", "Basic dXNlcjpwYXNzd29yZA=="),),
        (("authorization", ""),),
        (("authorization", "Bearer "),),
        (("authorization", "Bearer psk_nobody"),),
        (("authorization", f"Bearer {mint('z' * 10).text}"),),
        (("authorization", mint("z" * 10).text),),
        (("authorization", b"\xff\xff"),),
        (("x-api-key", "psk"),),
    ],
)
def test_without_a_good_credential_nobody_is_let_in(metadata):
    with pytest.raises(Unauthenticated):
        knowing(Key()).caller_of(metadata, HERE)


def test_two_credentials_are_none_even_if_both_are_good():
    """Whoever stands in between may have looked at the other one."""
    key = Key()
    shown = ("authorization", f"Bearer {key.secrets[0].text}")

    with pytest.raises(Unauthenticated, match="send one"):
        knowing(key).caller_of((shown, shown), HERE)


def test_the_scheme_may_be_written_in_any_case():
    key = Key()

    caller = knowing(key).caller_of((("authorization", f"bEARER {key.secrets[0].text}"),), HERE)

    assert caller.key == key.id


def test_no_error_repeats_what_was_shown():
    good, wrong = Key(), mint("z" * 10)
    for text in (wrong.text, wrong.text[:-1], f"psk_{good.id}_" + wrong.text[15:]):
        with pytest.raises(Unauthenticated) as caught:
            knowing(good).caller_of((("authorization", f"Bearer {text}"),), HERE)
        assert text[15:40] not in str(caught.value)


def test_a_secret_that_was_shown_before_is_known_by_its_hash():
    key = Key()
    authenticator = knowing(key)
    caller = show(authenticator, key.secrets[0])

    assert show(authenticator, key.secrets[0]) is caller
    with pytest.raises(Unauthenticated):
        show(authenticator, mint(key.id))


def test_another_secret_of_the_same_key_is_refused():
    key = Key()

    with pytest.raises(Unauthenticated, match="unknown here"):
        show(knowing(key), mint(key.id))


class TestRotation:
    def test_both_secrets_are_good_for_a_while(self):
        key = Key()
        key.rotate(grace_ms=60_000)

        authenticator = knowing(key)

        assert {show(authenticator, secret).key for secret in key.secrets} == {key.id}

    def test_the_one_before_ends_with_the_grace(self):
        key = Key()
        key.rotate(grace_ms=500)

        authenticator = knowing(key)

        assert show(authenticator, key.secrets[1]).key == key.id
        with pytest.raises(Unauthenticated, match="expired"):
            show(authenticator, key.secrets[0])

    def test_there_are_never_more_than_two(self):
        key = Key()
        key.rotate(grace_ms=60_000)
        key.rotate(grace_ms=60_000)

        authenticator = knowing(key)

        assert [show(authenticator, secret).key for secret in key.secrets[1:]] == [key.id] * 2
        with pytest.raises(Unauthenticated):
            show(authenticator, key.secrets[0])

    def test_a_secret_that_ends_sooner_is_not_given_longer(self):
        key = Key()
        key.rotate(grace_ms=500)
        key.rotate(grace_ms=0)

        assert [secret.expires_ms for secret in key.record.secrets] == [0]

    def test_callers_that_go_on_are_not_disturbed(self):
        key = Key()
        authenticator = knowing(key)
        caller = show(authenticator, key.secrets[0])

        key.rotate(grace_ms=60_000)
        authenticator.update({key.id: key.record})

        caller.check_model("digits")
        assert show(authenticator, key.secrets[0]) is caller


class TestTheEnd:
    def test_a_key_expires(self):
        key = Key(ttl_ms=500)

        with pytest.raises(Unauthenticated, match="expired"):
            show(knowing(key), key.secrets[0])

    def test_a_stream_that_goes_on_ends_with_its_key(self, monkeypatch):
        key = Key(ttl_ms=60_000)
        caller = show(knowing(key), key.secrets[0])
        caller.check_model("digits")

        later_s = NOW_MS / 1000 + 61
        monkeypatch.setattr("penstock.gateway.access.caller.time", lambda: later_s)

        with pytest.raises(Unauthenticated, match="expired"):
            caller.check_model("digits")

    def test_a_revoked_key_is_refused_and_so_are_its_streams(self):
        key = Key()
        authenticator = knowing(key)
        caller = show(authenticator, key.secrets[0])

        key.revoke()
        authenticator.update({key.id: key.record})

        with pytest.raises(Unauthenticated, match="revoked"):
            show(authenticator, key.secrets[0])
        with pytest.raises(Unauthenticated, match="revoked"):
            caller.check_model("digits")

    def test_a_revoked_key_has_no_hash_on_record(self):
        key = Key()
        key.revoke()

        assert not key.record.secrets


class TestWhenKeysAreAskedFor:
    def test_until_there_has_been_one_everybody_is_let_in(self):
        assert knowing().caller_of((), HERE) is ANYBODY

    def test_before_the_registry_is_known_nobody_is(self):
        with pytest.raises(ModelNotReady, match="keys are not known yet"):
            Authenticator("auto").caller_of((), HERE)

    def test_the_first_key_closes_the_gateway(self):
        authenticator = knowing()

        authenticator.update({(key := Key()).id: key.record})

        with pytest.raises(Unauthenticated, match="penstock keys create"):
            authenticator.caller_of((), HERE)

    def test_the_last_keys_end_opens_nothing(self):
        key = Key()
        key.revoke()

        with pytest.raises(Unauthenticated):
            knowing(key).caller_of((), HERE)

    def test_a_registry_that_has_lost_all_keys_neither_opens_the_gateway_nor_locks_it(self):
        key = Key()
        authenticator = knowing(key)

        authenticator.update({})

        assert show(authenticator, key.secrets[0]).key == key.id
        with pytest.raises(Unauthenticated):
            authenticator.caller_of((), HERE)

    def test_keys_asks_from_the_start(self):
        with pytest.raises(Unauthenticated):
            Authenticator("keys").caller_of((), HERE)

    def test_none_never_asks(self):
        assert knowing(Key(), auth="none").caller_of((), HERE) is ANYBODY


class TestNetworks:
    KEY = (("networks", ("10.0.0.0/8", "2001:db8::/32")),)

    @pytest.mark.parametrize(
        "connection",
        [
            "ipv4:10.1.2.3:5",
            "ipv6:[2001:db8::1]:5",
            "ipv6:%5B2001:db8::1%5D:5",
            "ipv6:[::ffff:10.0.0.1]:5",
        ],
    )
    def test_a_key_is_good_from_its_networks(self, connection):
        key = Key(**dict(self.KEY))

        assert show(knowing(key), key.secrets[0], connection).key == key.id

    @pytest.mark.parametrize("connection", [HERE, "ipv6:[::1]:5", "unix:", "", "ipv4:x:5"])
    def test_and_from_nowhere_else(self, connection):
        key = Key(**dict(self.KEY))

        with pytest.raises(PermissionDenied, match=r"10\.0\.0\.0/8"):
            show(knowing(key), key.secrets[0], connection)

    def test_a_network_that_cannot_be_read_lets_nobody_in(self):
        key = Key()
        key.record.networks.append("10.0.0.0/99")

        with pytest.raises(PermissionDenied):
            show(knowing(key), key.secrets[0])


class TestCertificates:
    def test_a_name_in_a_certificate_counts_as_the_key(self):
        key = Key("ops", certificates=["spiffe://x/ops"])

        caller = knowing(key).caller_of((), HERE, ("CN=a", "spiffe://x/ops"))

        assert (caller.name, caller.key) == ("ops", key.id)

    def test_a_certificate_of_nobody_is_not_enough(self):
        with pytest.raises(Unauthenticated):
            knowing(Key(certificates=["a"])).caller_of((), HERE, ("b",))

    def test_a_bad_secret_is_not_made_good_by_a_certificate(self):
        key = Key(certificates=["a"])

        with pytest.raises(Unauthenticated):
            show(knowing(key), mint(key.id), certificate=("a",))

    def test_it_ends_with_the_key(self):
        key = Key(certificates=["a"])
        key.revoke()

        with pytest.raises(Unauthenticated):
            knowing(key).caller_of((), HERE, ("a",))


def test_the_process_that_started_this_one_may_read():
    key = mint("y" * 10)
    authenticator = Authenticator("keys", key.text)

    caller = show(authenticator, key)

    assert caller.scopes == {Scope.READ}
    assert caller.sees_all


class TestModels:
    @pytest.mark.parametrize(
        ("globs", "model", "allowed"),
        [
            (("*",), "anything", True),
            (("digits",), "digits", True),
            (("digits",), "digits2", False),
            (("digits",), "xdigits", False),
            (("vision-*", "ocr"), "vision-a/b\n", True),
            (("vision-*", "ocr"), "ocr", True),
            (("vision-*", "ocr"), "VISION-a", False),
            (("a.b",), "axb", False),
            ((), "digits", False),
            ((), "", False),
        ],
    )
    def test_globs_say_which_are_the_callers(self, globs, model, allowed):
        caller = Caller("t", "k", models=globs)

        assert caller.may_use(model) is allowed
        if not allowed:
            with pytest.raises(PermissionDenied):
                caller.check_model(model)

    def test_a_scope_of_a_later_release_allows_nothing(self):
        key = Key()
        key.record.scopes[:] = ["fly"]

        assert show(knowing(key), key.secrets[0]).scopes == frozenset()
