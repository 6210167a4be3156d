"""Words that the house gave up are gone: whoever searches by the field's words finds the place."""

import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("gateway", "scheduler", "workers", "src/penstock", "bench", "examples")
SOURCES = [
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if "_pb2" not in path.name and not any(part.is_symlink() for part in path.parents)
]
PAGES = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
GIVEN_UP = [
    "lookout",
    "familiar",
    "Crew",
    "Keeper",
    "_mourn",
    "_speak_for",
    "Office",
    "forsake",
    "Duty",
    "Endings",
    "Recipient",
    "Reception",
    "Leg",
    "alight",
    "waypoint",
    "Gathering",
    "Lots",
    "crowd",
    "first_words",
    "next_words",
    "set_beside",
    "outbox",
    "parcel",
    "outlook",
    "tempo",
    "wish",
    "wishes",
    "Wish",
    "Wishes",
    "wished",
    "wish_instead",
    "generation",
    "Standing",
    "standings",
    "put_off",
    "not_by",
    "patience_us",
    "told",
    "untold",
    "tell",
    "tell_tempo",
    "spare_collector",
    "rest_collector",
    "foresight",
    "foreseen",
    "Begun",
    "Tally",
    "Inbox",
    "Turns",
    "Door",
]
ELSEWHERE = {
    "Tally": {"src/penstock/loadgen/outcome.py", "src/penstock/loadgen/generator.py"},
    "tell": {"bench/against.py", "bench/cases.py"},  # a person, of progress
}


@pytest.fixture(scope="module")
def tokens():
    """File -> kind of token -> all of that kind, for every file of the code."""
    return {str(path.relative_to(ROOT)): _tokens(path) for path in SOURCES}


def _tokens(path):
    found = {tokenize.NAME: set(), tokenize.STRING: set()}
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type in found:
            found[token.type].add(token.string)
    return found


@pytest.fixture(scope="module")
def names(tokens):
    """File -> the names in it, without underscores around them."""
    return {
        file: {name.strip("_") for name in kinds[tokenize.NAME]} for file, kinds in tokens.items()
    }


@pytest.mark.parametrize("word", GIVEN_UP)
def test_no_name_in_the_code_is_a_word_that_was_given_up(names, word):
    named = {file for file, found in names.items() if word.strip("_") in found}

    assert named <= ELSEWHERE.get(word, set())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_has_one_that_is_not_english(page):
    # What is stored keeps its spelling: redis.md has it within backticks.
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)

    assert not re.search(r"\b(lookout|waypoints?|parcels?|tempos?|wish(es)?|outlooks?)\b", text)


def test_messages_of_processes_have_none(tokens):
    said = re.compile(r"\b(wish(es)?|tempos?|lookout|outlooks?|waypoint)\b", re.IGNORECASE)
    found = [
        (file, text)
        for file, kinds in tokens.items()
        for text in kinds[tokenize.STRING]
        if said.search(text)
    ]

    assert {file for file, _ in found} <= {
        "scheduler/registry/load_requests.py",  # names in Redis
        "scheduler/registry/registry.py",
        "scheduler/store/keys.py",
    }
