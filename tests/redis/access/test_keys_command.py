"""``penstock keys``: made, listed, rotated and revoked in the store; each secret is shown once."""

import json
import os

import pytest
from support.processes.commands import invoke, spawn, too_wide

from penstock.gateway.access.api_key import id_in


@pytest.fixture(autouse=True)
def _store(redis_url, monkeypatch):
    monkeypatch.setenv("PENSTOCK_REDIS", redis_url)


def keys(*words):
    return invoke("keys", *words)


def create(*words):
    """The id of a new key, and its secret."""
    secret = keys("create", *words).stdout.strip()
    return id_in(secret), secret


def listed(*words):
    return {one["id"]: one for one in json.loads(keys("ls", "--json", *words).stdout)}


def test_a_new_keys_secret_is_all_that_goes_to_standard_output():
    made = keys("create", "vision")

    assert made.exit_code == 0
    assert id_in(made.stdout.removesuffix("\n")) is not None
    assert "only time" in made.stderr
    assert made.stdout.strip() not in made.stderr
    assert too_wide(made.output) == []


def test_a_key_is_listed_with_what_it_is_for_and_never_its_secret():
    words = ("--scope", "infer", "--model", "ocr-*", "--network", "10.0.0.0/8", "--expires", "90d")
    id_, secret = create("vision", *words)

    table, (one,) = keys("ls").output, listed().values()

    assert (one["team"], one["scopes"], one["models"]) == ("vision", ["infer"], ["ocr-*"])
    assert one["networks"] == ["10.0.0.0/8"]
    assert one["expires_ms"] - one["created_ms"] == 90 * 86_400_000
    assert id_ in table
    assert "vision" in table
    assert too_wide(table) == []
    assert secret.split("_")[2] not in table + json.dumps(one)


def test_json_tells_programs_the_secret_and_what_it_is_for():
    made = json.loads(keys("create", "vision", "--json").stdout)

    assert id_in(made["secret"]) == made["id"]
    assert made["scopes"] == ["infer", "read"]


def test_a_key_has_two_secrets_while_it_is_rotated():
    id_, before = create("vision")

    after = keys("rotate", id_, "--grace", "1h").stdout.strip()

    assert id_in(after) == id_
    assert after != before
    assert [one["expires_ms"] is None for one in listed()[id_]["secrets"]] == [False, True]


def test_without_grace_the_secret_before_is_gone():
    id_, _ = create("vision")

    keys("rotate", id_, "--grace", "0s")

    assert len(listed()[id_]["secrets"]) == 1


def test_a_revoked_key_stays_on_record_and_is_shown_when_asked_for():
    id_, _ = create("vision")

    said = keys("revoke", id_).output

    assert said == f"The key {id_} of vision is revoked.\n"
    assert listed() == {}
    assert listed("--all")[id_]["state"] == "revoked"
    assert "nobody may call" in keys("ls").output
    assert "was revoked before" in keys("revoke", id_).output
    assert "make another" in keys("rotate", id_).output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "a team"), "cannot be a team's name"),
        (("create", "t", "--scope", "fly"), "choose among infer, read, load, admin"),
        (("create", "t", "--network", "10.0.0.1/8"), "is no network"),
        (("create", "t", "--expires", "soon"), "90d, 12h, 30m or 45s"),
        (("create", "t", "--expires", "0d"), "90d, 12h, 30m or 45s"),
        (("create", "t", "--no-secret"), "or the name of a certificate"),
        (("create", "t", "--model", ""), "cannot be a name"),
        (("revoke", "aaaaaaaaaa"), "'penstock keys ls' lists them"),
        (("rotate", "nothing"), "ten characters each"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(words, said):
    refused = keys(*words)

    assert refused.exit_code == 1
    assert said in refused.output
    assert listed() == {}


def test_certificates_alone_may_be_a_key():
    made = keys("create", "ops", "--certificate", "spiffe://x/ops", "--no-secret")

    (one,) = listed().values()
    assert made.exit_code == 0
    assert made.stdout == ""
    assert (one["certificates"], one["secrets"]) == (["spiffe://x/ops"], [])


def test_without_a_store_it_says_how_to_name_one(monkeypatch):
    monkeypatch.delenv("PENSTOCK_REDIS")

    assert "PENSTOCK_REDIS" in keys("ls").output


def test_a_secret_in_an_ids_place_is_in_no_output():
    _, secret = create("vision")

    refused = spawn("keys", "revoke", secret, environment=dict(os.environ))

    assert refused.returncode == 1
    assert "rotate it" in refused.stderr
    assert secret not in refused.stdout + refused.stderr
