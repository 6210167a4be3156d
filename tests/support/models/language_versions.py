"""Language models for clusters, their answers in this process, and what tests ask them."""

import json

from support.models import tiny_language
from support.models.tiny_language import Shape

from penstock.exporting.export import Order, export
from penstock.exporting.graphs.matrices import Weights
from penstock.language.options import DecodingOptions
from penstock.workers.language.local import LocalModel

TOKENS = 100
PROMPTS = ["hello", "the world", "a", "in the hell", "w", "hello hello", "or", "x" * 90]
SAMPLED = {"temperature": 1.5, "top_p": 0.98, "presence_penalty": 0.5}
SHAPE = Shape(layers=4, heads=6, head_size=16, width=96, inner=384, context=256)


def write_model(folder, name="tiny", stages=1, count=2, weights=Weights.FP32):
    """A repository with one more language model, of which there are *count* groups of workers."""
    export(
        tiny_language.write_folder(folder / "checkpoint", SHAPE),
        Order(folder / f"models/{name}/1", stages, weights=weights),
        lambda *_: None,
    )
    config = folder / f"models/{name}/config.pbtxt"
    groups = f"instance_group {{ count: {count} kind: KIND_CPU }}\n"
    config.write_text(config.read_text() + groups)
    return folder / "models"


class Local:
    """The same version in this process; each answer is computed once.

    Attributes:
        tokenizer: the model's.
    """

    def __init__(self, directory):
        self._model = LocalModel.open(directory, 8, 256, threads=1)
        self._known = {}
        self.tokenizer = self._model.tokenizer

    def answer(self, text, *, special=True, **options):
        """Tokens and text of the answer to *text*."""
        key = text, special, json.dumps(options, sort_keys=True)
        if key not in self._known:
            asked = DecodingOptions.of({"ignore_end": True, **options})
            tokens = self.tokenizer.encode(text, special=special)
            pieces = list(self._model.generate([tokens], asked))
            made = "".join(piece.text for piece in pieces)
            self._known[key] = [piece.token for piece in pieces], made
        return self._known[key]


def asked(number):
    """Of each prompt one greedy answer and one that is drawn."""
    drawn = {**SAMPLED, "seed": number} if number % 2 else {}
    return PROMPTS[number // 2 % 8], {"max_tokens": TOKENS, "ignore_end": True, **drawn}


def expected(local, number):
    """Tokens and text of that answer, as this process makes it, alone."""
    prompt, options = asked(number)
    return local.answer(prompt, **options)


def ask_all(answers, model="tiny", count=16):
    """Ask *model* for as many of these answers, and do not wait."""
    requests = [asked(number) for number in range(count)]
    return [answers.ask(model, prompt, **options) for prompt, options in requests]


def hold(local, found):
    """Each answer is what this process makes of its request, alone."""
    for number, answer in enumerate(found):
        assert answer.error == ""
        assert (answer.tokens, answer.text) == expected(local, number)
