"""Faults to plant where gateways bound what a message may cost."""

from chaos.planted import Mutant

BOUNDS = "tests/pure/test_bounds.py::"
READING = "tests/pure/test_reading.py::"

TOO_MUCH = [
    Mutant(
        "messages: the fields of a request are not counted",
        "protos/wire.py",
        "while at < end and left:",
        "while at < end:",
        BOUNDS + "test_as_many_fields_as_a_request_may_have_are_taken_apart",
    ),
    Mutant(
        "messages: parts at any depth are not counted",
        "protos/bounds.py",
        "if self.parts < 0:",
        "if False:",
        BOUNDS + "test_other_requests_of_many_parts_are_refused_before_they_are_parsed",
    ),
    Mutant(
        "messages: a short run of strings counts as one",
        "protos/bounds.py",
        "left.strings -= 1 + more",
        "left.strings -= 1",
        BOUNDS + "test_a_request_with_too_much_of_something_is_refused_by_the_limit",
    ),
    Mutant(
        "messages: a message of any size is parsed",
        "protos/bounds.py",
        "if most_bytes is not None and len(serialized) > most_bytes:",
        "if False:",
        BOUNDS + "test_a_message_that_is_too_long_for_its_kind_is_not_looked_at",
    ),
    Mutant(
        "messages: a million strings are checked on the event loop",
        "gateway/reading.py",
        "            return await self._offload.run(_admitted, asked)\n",
        "            return _admitted(asked)\n",
        READING + "test_others_have_their_turn_while_a_large_request_is_read",
    ),
    Mutant(
        "messages: all typed strings become objects at once",
        "protos/contents.py",
        "_SLICE: Final = 1 << 14",
        "_SLICE: Final = 1 << 40",
        READING + "test_typed_strings_become_raw_without_an_object_for_each_of_them",
    ),
]
