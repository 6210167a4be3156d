"""Python's own documentation of its language, in passages; and questions whose answers it has."""

import re
from dataclasses import dataclass
from pydoc_data.topics import topics

LONGEST = 600
"""Letters of a passage: some 130 word pieces."""
EACH = 4
"""Passages of a topic at most."""

QUESTIONS = {
    "How do I run the same code once for every item of a list?": {"for"},
    "What happens to an error that nobody catches?": {"exceptions", "try", "raise"},
    "How can I make sure that a file is closed whatever happens?": {
        "with",
        "context-managers",
        "try",
    },
    "How do I write a function without giving it a name?": {"lambda"},
    "Which numbers have a real and an imaginary part?": {"numbers", "imaginary", "typesnumeric"},
    "How do I leave a loop before it is over?": {"break"},
    "How do I change a variable that belongs to the whole module?": {"global", "naming"},
    "What is looked at first: and, or, not, or comparison?": {
        "operator-summary",
        "booleans",
        "comparisons",
    },
    "How do I stop in the debugger at a line?": {"debugger", "bltin-ellipsis-object"},
    "How can I give a class its own plus operator?": {"numeric-types", "specialnames"},
    "How do I test a condition while developing and stop if it is false?": {"assert"},
    "How do I remove an entry from a dictionary or a name?": {"del", "typesmapping"},
    "What can be the key of a dictionary?": {"typesmapping", "dict", "objects", "types"},
    "How do I put values into a text with braces?": {
        "formatstrings",
        "f-strings",
        "string-methods",
    },
    "Where does import look for a module?": {"import"},
}
"""And the topics that answer each."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A few sentences of a topic's page."""

    topic: str
    text: str


def read() -> list[Passage]:
    """The first passages of every topic."""
    found = []
    for topic in sorted(topics):
        prose = [" ".join(part.split()) for part in re.split(r"\n\s*\n", topics[topic])]
        kept = [part for part in prose if part.count(" ") > 10 and not part.startswith("**")]
        found += [Passage(topic, f"{part[:LONGEST]}") for part in kept[:EACH]]
    return found
