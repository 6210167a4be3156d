"""Faults to plant where answers share slots, make room for others, or tell how likely they were."""

from chaos.planted.fault import LUA, Mutant
from chaos.planted.models.gpus import ON_GPUS

LOGS = "tests/redis/language/test_logs.py::"
PREFIXES = "tests/pure/language/test_prefixes.py::"
STEPS = "tests/pure/workers/serve/test_steps.py::"
LOGPROBS = "tests/pure/language/test_logprobs.py::"
RESUMED = "tests/pure/gateway/requests/test_resuming.py::"

SHARED_SLOTS = [
    Mutant(
        "log probabilities: they are told after the temperature has changed them",
        "src/penstock/language/log/likelihoods.py",
        "scores = logits.astype(np.float64)",
        "scores = logits.astype(np.float64) / (options.temperature or 1)",
        LOGPROBS + "test_they_are_those_of_the_plain_model_before_anything_changed_them",
    ),
    Mutant(
        "log probabilities: each token has those of the one before",
        "gateway/requests/language/answer.py",
        "self._describer.described(entries[at], offset)",
        "self._describer.described(entries[at - 1], offset)",
        "tests/pure/gateway/requests/test_answer_logprobs.py"
        "::test_each_token_has_its_own_however_they_come_and_from_wherever",
    ),
    Mutant(
        "log probabilities: places in the text are those behind each token",
        "gateway/requests/language/logprobs.py",
        "        return before\n",
        "        return self._characters\n",
        "tests/pure/gateway/requests/test_answer_logprobs.py"
        "::test_bytes_make_the_text_and_places_are_those_in_it",
    ),
    Mutant(
        "log probabilities: a token's bytes are those of its letters",
        "src/penstock/language/log/spelling.py",
        "_LETTERS.get(one) or one.encode()",
        "one.encode()",
        LOGPROBS + "test_bytes_of_tokens_are_those_of_their_text",
    ),
    Mutant(
        "log probabilities: each of their words counts as a token",
        LUA + "append.lua",
        "#tokens / 4 / words",
        "#tokens / 4",
        LOGS + "test_a_token_of_several_words_is_one_token",
    ),
    Mutant(
        "steps: the device goes on however far the log is behind",
        "workers/serve/language/steps.py",
        "if not self._stopped and self._ahead < MOST_AHEAD and not self._engine.is_idle:",
        "if not self._stopped and not self._engine.is_idle:",
        STEPS + "test_the_device_goes_on_by_itself_and_no_further_than_it_may",
    ),
    Mutant(
        "steps: an answer that was let go of keeps its slot",
        "workers/serve/language/steps.py",
        "                self._engine.evict(answer)\n",
        "                pass\n",
        STEPS + "test_who_comes_is_in_the_next_step_and_who_leaves_in_none",
    ),
    Mutant(
        "preemption: an answer is pushed out by another of its own level",
        "workers/serve/language/preemption.py",
        "last.level <= waiting.level",
        "last.level < waiting.level",
        "tests/redis/language/test_preemption.py"
        "::test_the_last_of_the_last_level_makes_room_for_an_earlier_level_alone",
    ),
    Mutant(
        "preemption: what is more urgent waits for a slot like all others",
        "workers/serve/language/worker.py",
        "        if not self._spec.preempts:\n",
        "        if True:\n",
        "tests/redis/language/test_group_worker.py"
        "::test_an_answer_makes_room_for_a_more_urgent_one_and_loses_nothing",
    ),
    Mutant(
        "a prefix: the last token of the prompt is taken for read",
        "workers/language/prefixes.py",
        "self._best(answer, asked[:-1], running)",
        "self._best(answer, asked, running)",
        PREFIXES + "test_what_a_slot_has_is_what_its_answer_says_whatever_happens",
    ),
    Mutant(
        "a prefix: a token more is taken from a slot than is the same",
        "workers/language/prefixes.py",
        "return int(different[0]) if len(different) else most",
        "return min(int(different[0]) + 1, most) if len(different) else most",
        PREFIXES + "test_what_a_slot_has_is_what_its_answer_says_whatever_happens",
    ),
    Mutant(
        "a prefix: it is copied but for its last token",
        "workers/language/prefixes.py",
        "copies.append(Move(source.slot, slot, source.shared))",
        "copies.append(Move(source.slot, slot, source.shared - 1))",
        PREFIXES + "test_what_a_slot_has_is_what_its_answer_says_whatever_happens",
    ),
    Mutant(
        "a prefix: another caller's is found",
        "workers/language/prefixes.py",
        "if kept.caller == answer.caller:",
        "if kept.caller is not None:",
        PREFIXES + "test_nobody_has_part_in_what_is_anothers",
    ),
    Mutant(
        "a prefix: another caller's is found in a slot that is in use",
        "workers/language/prefixes.py",
        "if one.caller == answer.caller and id(one) in self._asked:",
        "if id(one) in self._asked:",
        PREFIXES + "test_nobody_has_part_in_what_is_anothers",
    ),
    Mutant(
        "a prefix: gateways do not say whose a job is",
        "gateway/requests/language/answer.py",
        "string_param = self.asked.call.caller.name",
        'string_param = ""',
        RESUMED + "test_a_job_says_whose_it_is",
    ),
    Mutant(
        "a prefix: what was used last goes first",
        "workers/language/prefixes.py",
        "self._kept[slot].used if slot in self._kept else 0",
        "-self._kept[slot].used if slot in self._kept else -1e9",
        PREFIXES + "test_the_slot_that_was_used_longest_ago_goes_first",
    ),
    Mutant(
        "a prefix: slots change places in the first stage alone",
        "workers/language/later.py",
        "                self._stage.swap(*change)\n",
        "",
        PREFIXES + "test_text_and_numbers_are_the_same_to_the_bit_with_and_without",
    ),
    Mutant(
        "a prefix: a group goes on with what the one before had",
        "workers/serve/language/worker.py",
        "Prefixes(model.slots) if caches.reuses else None",
        "self.__dict__.setdefault('_kept', Prefixes(model.slots))",
        "tests/redis/language/test_group_worker.py"
        "::test_a_conversation_goes_on_from_what_its_group_has_and_no_other",
    ),
    Mutant(
        "a prefix: it is reused where that was not seen to change nothing",
        "workers/language/runtime.py",
        "if rebuild is Rebuild.PREFILL:",
        "if rebuild is not Rebuild.NONE:",
        PREFIXES + "test_by_itself_it_is_done_only_where_it_was_seen_to_change_nothing",
    ),
    *ON_GPUS,
]
