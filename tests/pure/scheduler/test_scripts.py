"""Each Lua script is refused whole or runs whole, and those that drain the queue always run."""

import hashlib
import re
from importlib import resources

import pytest

from penstock.scheduler.store.scripts import load

LUA = resources.files("penstock.scheduler") / "lua"
NAMES = sorted(path.name.removesuffix(".lua") for path in LUA.iterdir() if path.is_file())
LIBRARY = sorted(path.name.removesuffix(".lua") for path in (LUA / "lib").iterdir())

DRAIN = {"settle", "advance", "cancel", "nack", "reap", "renew", "claim", "leave"}
"""What must run when memory is full, so that jobs can end."""


def flags(name):
    head = load(name).source.split("\n", 1)[0]
    found = re.fullmatch(r"#!lua(?: flags=([\w,-]+))?", head)
    return set((found[1] or "").split(",")) - {""}


@pytest.mark.parametrize("name", NAMES)
def test_a_script_begins_with_its_flags_and_its_header(name):
    head, header, *_ = load(name).source.splitlines()

    assert head.startswith("#!lua")
    assert header.startswith(f"-- {name}: ")


@pytest.mark.parametrize("name", NAMES)
def test_a_script_is_known_by_the_hash_of_what_is_sent(name):
    script = load(name)

    assert script.sha == hashlib.sha1(script.source.encode(), usedforsecurity=False).hexdigest()
    assert script.name == name
    assert load(name) is script


@pytest.mark.parametrize("name", NAMES)
def test_no_include_is_left_and_none_comes_twice(name):
    source = load(name).source

    assert "--@include" not in source
    assert all(source.count(f"-- {part}: ") <= 1 for part in LIBRARY)


@pytest.mark.parametrize("part", LIBRARY)
def test_a_shared_part_is_where_it_is_included(part):
    text = (LUA / "lib" / f"{part}.lua").read_text().rstrip("\n")

    users = [name for name in NAMES if f"--@include {part}\n" in (LUA / f"{name}.lua").read_text()]

    assert users
    assert all(text in load(name).source for name in users)


@pytest.mark.parametrize("name", NAMES)
def test_who_ends_jobs_ends_those_of_shared_replies(name):
    source = load(name).source

    if "local function end_job(" in source:
        assert -1 < source.find("local function share(") < source.find("local function end_job(")


@pytest.mark.parametrize("name", NAMES)
def test_keys_come_from_outside(name):
    assert "penstock:" not in load(name).source


@pytest.mark.parametrize("name", sorted(DRAIN))
def test_a_full_server_can_be_drained(name):
    assert flags(name) == {"allow-oom"}


@pytest.mark.parametrize("name", ["enqueue", "join", "registry_publish", "registry_place"])
def test_a_full_server_takes_nothing_more(name):
    assert flags(name) == set()


@pytest.mark.parametrize("name", ["depths", "registry_snapshot"])
def test_who_only_looks_writes_nothing(name):
    assert flags(name) == {"no-writes"}


def test_a_script_that_is_not_there_is_an_error():
    with pytest.raises(FileNotFoundError):
        load("no_such_script")
