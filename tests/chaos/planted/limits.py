"""Faults to plant where a gateway's memory is limited."""

from chaos.planted.fault import Mutant

TURNS = "tests/pure/gateway/limits/test_read_turns.py::"
CALLS = "tests/pure/gateway/fronts/test_calls.py::"
LIMITS = "tests/pure/gateway/limits/test_memory.py::"
ROOM = "tests/pure/gateway/limits/test_stream_room.py::"
UNREAD = "tests/pure/gateway/limits/test_unread.py::"

LIMITED = [
    Mutant(
        "limits: what is held is never given back",
        "gateway/limits/memory.py",
        "        self.held -= size",
        "        self.held -= 0",
        LIMITS + "test_a_budget_is_refused_beyond_its_limit_and_given_back",
    ),
    Mutant(
        "limits: processes each take the whole machine",
        "gateway/limits/memory.py",
        "machine_bytes // 2 // settings.processes",
        "machine_bytes // 2",
        LIMITS + "test_processes_on_one_machine_share_its_memory",
    ),
    Mutant(
        "limits: freed memory counts as used",
        "gateway/limits/memory.py",
        "            held = self._resident()\n            if at_rest:",
        "            self._resident()\n            if at_rest:",
        LIMITS + "test_freed_memory_is_given_back_before_anybody_is_refused",
    ),
    Mutant(
        "limits: at rest freed memory is looked for once",
        "gateway/limits/memory.py",
        "self.pause_s = min(2 * self.pause_s, LONGEST_PAUSE_S)",
        'self.pause_s = float("inf")',
        LIMITS + "test_what_is_freed_after_the_last_message_is_given_back_as_well",
    ),
    Mutant(
        "limits: calls are read however full the memory is",
        "gateway/fronts/grpc/calls.py",
        "if self.memory.used > 1:",
        "if False:",
        CALLS + "test_when_the_memory_is_full_nothing_is_taken_but_questions_about_the_gateway",
    ),
    Mutant(
        "limits: large messages come all at once",
        "gateway/limits/read_turns.py",
        "if self._waiting or len(self._taken) >= self._most:",
        "if False:",
        TURNS + "test_no_more_begin_than_there_is_room_for",
    ),
    Mutant(
        "limits: whoever sends nothing keeps its turn to read",
        "gateway/limits/read_turns.py",
        "            del self._taken[task]\n        self._hand_out()",
        "            pass\n        self._hand_out()",
        TURNS + "test_whoever_sends_nothing_holds_up_nobody",
    ),
    Mutant(
        "limits: what arrives slowly is waited for while memory is scarce",
        "gateway/fronts/grpc/calls.py",
        "if self.memory.used <= SCARCE:\n            return []",
        "if True:\n            return []",
        CALLS + "test_when_the_memory_is_scarce_the_latest_of_what_is_slow_gives_way",
    ),
    Mutant(
        "limits: a call that gave way looks as if its client had gone",
        "gateway/fronts/grpc/calls.py",
        "            task.uncancel()\n            raise error from None",
        "            raise",
        CALLS + "test_when_the_memory_is_scarce_the_latest_of_what_is_slow_gives_way",
    ),
    Mutant(
        "limits: unread replies are forgotten too early",
        "gateway/fronts/grpc/calls.py",
        "self.unread.take(peer, size)",
        "pass",
        CALLS + "test_a_reply_is_unread_until_its_call_has_ended",
    ),
    Mutant(
        "limits: whoever holds least is cut off",
        "gateway/limits/unread.py",
        "self._by_peer.most_common()",
        "reversed(self._by_peer.most_common())",
        UNREAD + "test_whoever_holds_most_is_cut_off_when_all_hold_too_much",
    ),
    Mutant(
        "limits: a stream's unsent answers do not count",
        "gateway/limits/stream_room.py",
        "return self.unsent_bytes + expected <= self._most_bytes",
        "return expected <= self._most_bytes",
        ROOM + "test_unsent_answers_take_room",
    ),
    Mutant(
        "limits: large replies are read by the hundred",
        "scheduler/replies/reader.py",
        ", _READ_BYTES // max([1, *sizes])",
        "",
        ROOM + "test_large_replies_are_read_a_few_at_a_time",
    ),
    Mutant(
        "limits: the innermost control group alone counts",
        "src/penstock/process/machine.py",
        "for part in (seen, *seen.parents):",
        "for part in (seen,):",
        "tests/pure/kernel/test_machine.py::"
        "test_the_smallest_limit_of_all_groups_around_the_process_counts",
    ),
]
