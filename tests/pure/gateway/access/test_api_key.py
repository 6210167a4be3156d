"""Secrets of keys: their form, what is kept of them, and who never sees them."""

import hashlib

import pytest

from penstock.errors import InvalidConfiguration
from penstock.gateway.access.api_key import checked_id, hash_of, id_in, mint, new_id


def test_a_secret_names_its_key_and_is_kept_as_its_hash():
    key = new_id()

    minted = mint(key)

    assert id_in(minted.text) == key
    assert minted.text.startswith(f"psk_{key}_")
    assert minted.sha256 == hashlib.sha256(minted.text.encode()).digest() == hash_of(minted.text)
    assert minted.text not in repr(minted)


def test_no_two_are_the_same():
    assert len({mint("a" * 10).text for _ in range(100)} | {new_id() for _ in range(100)}) == 200


@pytest.mark.parametrize("change", ["x{}", "{}x", "{} ", "{}\n"])
def test_what_is_not_whole_is_no_secret(change):
    assert id_in(change.format(mint("a" * 10).text)) is None


def test_each_mistyped_character_is_noticed():
    text = mint("a" * 10).text

    for at in range(len(text)):
        other = "b" if text[at] != "b" else "c"
        assert id_in(text[:at] + other + text[at + 1 :]) is None


@pytest.mark.parametrize("text", ["", "psk", "psk_", "psk___", "psk_" + "ä" * 71, "x" * 100_000])
def test_what_is_something_else_is_no_secret(text):
    assert id_in(text) is None


@pytest.mark.parametrize("text", ["", "x", "A" * 10, "a" * 11, "a" * 9 + "1"])
def test_what_is_no_id_is_refused(text):
    with pytest.raises(InvalidConfiguration, match="'penstock keys ls' lists them"):
        checked_id(text)


def test_a_secret_in_an_ids_place_is_in_no_error():
    secret = mint("a" * 10).text

    with pytest.raises(InvalidConfiguration, match="rotate it") as caught:
        checked_id(secret)

    assert secret not in str(caught.value)
