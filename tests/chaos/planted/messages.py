"""Faults to plant where gateways bound what a message may cost."""

from chaos.planted.fault import Mutant

BOUNDS = "tests/pure/protos/test_bounds.py::"
DAMAGED = "tests/pure/models/config/test_damaged_input.py::"
READING = "tests/pure/gateway/requests/test_reading.py::"

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
        "gateway/requests/reading.py",
        "            right, admitted = await self._offload.run(_admitted, asked)\n",
        "            right, admitted = _admitted(asked)\n",
        READING + "test_others_have_their_turn_while_a_large_request_is_read",
    ),
    Mutant(
        "messages: jobs of a worker that is not understood have ended it",
        "gateway/delivery/direct/worker_connections.py",
        "            self.room = 0\n            self.close()",
        "            self.room = 0\n            self._transport.abort()",
        DAMAGED + "test_a_worker_that_is_not_understood_is_cut_off_and_its_jobs_are_nobodys_fault",
    ),
    Mutant(
        "messages: a frame that is cut off is read as a shorter one",
        "src/penstock/transport/lane.py",
        '            raise Malformed("a job is cut off")\n        yield',
        "            pass\n        yield",
        DAMAGED + "test_no_frame_that_is_cut_off_is_read_as_a_shorter_one",
    ),
    Mutant(
        "messages: a damaged record ends who reads it",
        "scheduler/registry/records.py",
        "        except DecodeError as error:\n            self._say(",
        "        except KeyError as error:\n            self._say(",
        DAMAGED + "test_a_damaged_record_is_as_if_it_were_not_there",
    ),
    Mutant(
        "messages: all typed strings become objects at once",
        "protos/contents.py",
        "_SLICE: Final = 1 << 14",
        "_SLICE: Final = 1 << 40",
        READING + "test_typed_strings_become_raw_without_an_object_for_each_of_them",
    ),
]
