"""Faults to plant in what clients of the OpenAI API get: embeddings, items, prompts, speech."""

from chaos.planted.fault import Mutant
from chaos.planted.models.speech import SPEECH

EMBEDDINGS = "tests/pure/gateway/fronts/openai/test_openai_embeddings.py::"
ITEMS = "tests/pure/gateway/fronts/openai/test_openai_items.py::"
LOGPROBS = "tests/pure/language/test_logprobs.py::"
ANSWERS = "tests/pure/gateway/requests/test_answer_logprobs.py::"

TEXTS = [
    Mutant(
        "embeddings: of a batch that is full one row is left out",
        "gateway/requests/embeddings.py",
        "            yield begin, at\n",
        "            yield begin, at - 1\n",
        EMBEDDINGS + "test_rows_go_together_as_many_as_a_batch_and_its_tokens_allow",
    ),
    Mutant(
        "embeddings: shorter rows are filled up with a token",
        "gateway/requests/embeddings.py",
        "np.full((len(rows), longest), PADDING",
        "np.full((len(rows), longest), 0",
        EMBEDDINGS + "test_a_request_has_texts_or_tokens_that_are_filled_up",
    ),
    Mutant(
        "items: a piece reaches across what its client has",
        "gateway/fronts/http/openai/responses/items.py",
        "self._delta.number <= self._after:",
        "self._delta.number < 0:",
        ITEMS + "test_whoever_goes_on_behind_an_event_has_missed_nothing",
    ),
    Mutant(
        "items: events are numbered as they come",
        "gateway/fronts/http/openai/responses/items.py",
        "            self._place = 0\n            self.hear(letter)\n",
        "            self.hear(letter)\n",
        ITEMS + "test_whoever_goes_on_behind_an_event_has_missed_nothing",
    ),
    Mutant(
        "echo: each token of a prompt has what is told of the one before",
        "workers/language/batch.py",
        "answer.prompt[begin + 1 : begin + 1 + len(logits)]",
        "answer.prompt[begin : begin + len(logits)]",
        LOGPROBS + "test_a_prompts_tokens_are_told_of_as_the_plain_model_has_them",
    ),
    Mutant(
        "echo: a prompt that is read anew is told of twice",
        "workers/language/engine.py",
        "answer.cached, answer.echoed = 0, []",
        "answer.cached = 0",
        LOGPROBS + "test_one_that_is_evicted_before_its_first_token_is_told_of_all_of_it",
    ),
    Mutant(
        "echo: whoever goes on within a prompt has its text twice",
        "gateway/requests/language/answer.py",
        'text = "" if self._begin else self._decode(self._prompt)',
        "text = self._decode(self._prompt)",
        ANSWERS + "test_without_log_probabilities_the_text_alone_begins_with_it",
    ),
    Mutant(
        "items of an input: a page begins with the item that its client has",
        "gateway/fronts/http/openai/responses/input_items.py",
        "begin = ids.index(after) + 1",
        "begin = ids.index(after)",
        "tests/pure/gateway/fronts/openai/test_input_items.py::test_pages",
    ),
    *SPEECH,
]
