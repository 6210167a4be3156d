"""Faults to plant where a structured answer would not be what it must be."""

from chaos.planted.fault import Mutant

STRUCTURED = "tests/pure/language/test_structured.py::"
BY_SCHEMA = STRUCTURED + "test_an_answer_is_json_by_its_schema"
ELSEWHERE = STRUCTURED + "test_an_answer_goes_on_elsewhere_from_any_token_of_its_log"
CHECKS = "tests/pure/language/test_structure_checks.py::"
MASKS = "src/penstock/language/grammar/masks.py"
CALLS = "gateway/requests/language/tools/calls.py"
TOOLS = "tests/pure/gateway/fronts/openai/test_openai_tools.py::"
GRAMMARS = "src/penstock/language/grammar/grammars.py"

STRUCTURES = [
    Mutant(
        "a structure: whoever goes on with an answer begins its grammar anew",
        MASKS,
        "self._next = self._threads.go_on(self._allowed, held)",
        "self._next = self._threads.go_on(self._allowed, [])",
        ELSEWHERE,
    ),
    Mutant(
        "a structure: an answer that goes on elsewhere has none there",
        "workers/language/pipeline.py",
        "        self.structured.take(answer)\n",
        "        if not answer.log:\n            self.structured.take(answer)\n"
        "        else:\n            answer.options = type(answer.options)()\n",
        ELSEWHERE,
    ),
    Mutant(
        "a structure: the grammar misses a token",
        MASKS,
        "self._next = self._threads.go_on(self._allowed, [token])",
        "self._next = self._threads.go_on(self._allowed, [token][self._count == 3 :])",
        BY_SCHEMA,
    ),
    Mutant(
        "a structure: it is looked at, and not kept to",
        "workers/language/structured.py",
        "return NOT_YET if found is None else found",
        "return NOT_YET if found is None else None",
        BY_SCHEMA,
    ),
    Mutant(
        "a structure: an answer may end before it is complete",
        GRAMMARS,
        'found = np.flatnonzero(np.unpackbits(bits, bitorder="little"))',
        'found = np.union1d(np.flatnonzero(np.unpackbits(bits, bitorder="little")), [0])',
        STRUCTURED + "test_an_answer_ends_where_it_is_complete",
    ),
    Mutant(
        "a structure: it is lost on its way to the worker",
        "src/penstock/language/payload.py",
        '_TEXT_ONLY: Final = ("stop",)',
        '_TEXT_ONLY: Final = ("stop", "structured_outputs")',
        STRUCTURED + "test_options_reach_workers_and_other_gateways_as_they_are",
    ),
    Mutant(
        "a structure: what is drawn among the tokens that may come is another one",
        "src/penstock/language/sampling.py",
        "return int(allowed[_chosen(scores, options, len(log))])",
        "return int(allowed[_chosen(scores, options, len(log) + 1)])",
        "tests/pure/language/test_sampling.py"
        "::test_where_all_tokens_may_come_the_same_one_is_drawn",
    ),
    Mutant(
        "a structure: an answer that cannot go on is waited for without end",
        "workers/language/engine.py",
        "if new.finish is not None or new.is_stuck:",
        "if new.finish is not None:",
        STRUCTURED + "test_an_answer_that_cannot_go_on_ends_as_stuck_and_others_go_on",
    ),
    Mutant(
        "a structure: all answers wait for the mask of one",
        MASKS,
        "return self._next.result(max(0.0, patience_s))",
        "return self._next.result()",
        STRUCTURED + "test_what_may_come_is_waited_for_no_longer_than_is_said",
    ),
    Mutant(
        "a structure: strict ones pass over what is not known",
        "gateway/fronts/http/openai/structures.py",
        '"lenient": not strict',
        '"lenient": True',
        "tests/pure/gateway/fronts/openai/test_openai_asked.py"
        "::test_a_structure_is_asked_for_as_openais_and_vllms_clients_do",
    ),
    Mutant(
        "a structure: what was beyond a bound a few tokens later is let pass",
        "src/penstock/language/grammar/check_process.py",
        "            allowed.take([token])\n",
        "            break\n",
        CHECKS + "test_what_no_answer_can_have_is_refused_and_the_next_is_fine",
    ),
    Mutant(
        "a structure: there may be any number of blanks in JSON",
        GRAMMARS,
        'return {"whitespace_pattern": _WHITESPACE, "lenient": lenient}',
        'return {"lenient": lenient}',
        STRUCTURED + "test_no_model_writes_blanks_without_end",
    ),
    Mutant(
        "a call: what it begins with is said as text",
        CALLS,
        "keep = len(text) - _undecided(text)",
        "keep = len(text)",
        TOOLS + "test_calls_are_the_same_however_their_text_comes",
    ),
    Mutant(
        "a call: a brace in a text ends its arguments",
        CALLS,
        """self._quoted = letter != '"'""",
        "self._quoted = False",
        TOOLS + "test_calls_are_the_same_however_their_text_comes",
    ),
    Mutant(
        "a call: an answer that called has ended as any other",
        CALLS,
        'return FINISH if self.count and finish == "stop" else finish',
        "return finish",
        TOOLS + "test_a_whole_answer_and_a_stream_have_the_same_calls",
    ),
    Mutant(
        "a call: others than the one that is named may be called",
        "gateway/requests/language/tools/asked.py",
        "for function in functions if function.name in wanted]",
        "for function in functions]",
        TOOLS + "test_a_choice_says_what_must_be_called_and_how_often",
    ),
    Mutant(
        "a call: one that has begun may end as it likes",
        "src/penstock/language/grammar/tools.py",
        '"spoken: open body",',
        '"spoken: open TEXT",',
        "tests/pure/language/test_tool_calls.py::test_an_answer_that_may_call_does_so_or_speaks",
    ),
]
