"""Each Lua script is refused whole or runs whole, and those that drain the queue always run."""

import hashlib
import re
from importlib import resources

import pytest

from penstock.scheduler.store.keys import RegistryKeys, partition_keys
from penstock.scheduler.store.scripts import load

LUA = resources.files("penstock.scheduler") / "lua"
NAMES = sorted(path.name.removesuffix(".lua") for path in LUA.iterdir() if path.is_file())


def files_of(folder):
    return [path for path in folder.iterdir() if path.is_file()]


LIBRARY = sorted(path.name.removesuffix(".lua") for path in (LUA / "lib").iterdir())

DRAIN = {"settle", "move", "cancel", "nack", "reap", "renew", "claim", "leave", "registry_tell"}
"""What must run when memory is full, so that jobs can end, and that people are told."""


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
def test_no_include_is_left_and_nothing_is_defined_twice(name):
    source = load(name).source

    defined = re.findall(r"^local function (\w+)", source, re.MULTILINE)
    assert "--@include" not in source
    assert len(set(defined)) == len(defined)


@pytest.mark.parametrize("name", NAMES)
def test_a_script_has_nothing_that_it_does_not_use(name):
    """Redis makes all functions anew in each call."""
    source = re.sub("--.*", "", load(name).source)

    for function in re.findall(r"local function (\w+)", source):
        assert len(re.findall(rf"\b{function}\b", source)) > 1, function


@pytest.mark.parametrize("part", LIBRARY)
def test_a_library_says_what_it_is_and_is_included(part):
    texts = [path.read_text() for folder in (LUA, LUA / "lib") for path in files_of(folder)]

    assert (LUA / "lib" / f"{part}.lua").read_text().startswith(f"-- {part}: ")
    assert any(re.search(rf"--@include {part}$", text, re.MULTILINE) for text in texts)


@pytest.mark.parametrize("name", NAMES)
def test_who_ends_jobs_ends_those_of_shared_replies_and_of_sequences(name):
    source = load(name).source

    if "local function end_job(" in source:
        assert "local function share(" in source
    if "local function finish(" in source:
        assert "local function turn_ended(" in source


@pytest.mark.parametrize("name", NAMES)
def test_keys_come_from_outside(name):
    assert "penstock:" not in load(name).source


@pytest.mark.parametrize("keys", [partition_keys(7), RegistryKeys], ids=["partition", "registry"])
def test_each_key_is_made_in_one_place_as_it_is_named_in_python(keys):
    """A library, or the one script that uses it, owns a key."""
    texts = [path.read_text() for folder in (LUA, LUA / "lib") for path in files_of(folder)]
    made = [
        key
        for text in texts
        if (keys is RegistryKeys) == bool(re.search("include registry|-- registry: ", text))
        for key in re.findall(r"KEYS\[1\] \.\. '([a-z_]+:?)'", text)
    ]

    assert made
    assert len(set(made)) == len(made)
    assert {keys.prefix + key for key in made} <= set(vars(keys).values())


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
