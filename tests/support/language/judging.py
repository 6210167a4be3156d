"""Whether greedy answers, computed elsewhere, are those of the same model on this processor.

What another device computes differs in its last bits, and where two tokens are as good as each
other it may take the other one: from there the texts differ. So each token is held against what
this processor makes of the tokens before it, those of the answer itself.
"""

import shutil
from typing import NamedTuple

import numpy as np
import onnx

from penstock.language.manifest import read_manifest
from penstock.language.tokenizer import Tokenizer
from penstock.workers.language.pipeline import Pipeline

TOLERANCE = 5e-3
"""Of a logit: these lie some units apart, and sums in another order by 1e-5 of that."""

MOST_EVEN = 0.1
_FLOATS = 1
"""MatMulNBits' level of accuracy that multiplies fp32 numbers."""


class NotThose(Exception):
    """An answer is none that this model gives."""


class Held(NamedTuple):
    """How many tokens were held, and for how many of them another one was as good."""

    tokens: int
    even: int


def without_rounding(directory):
    """A copy of the version beside it that rounds its weights alone, as GPUs do.

    The processor rounds what 8- and 4-bit weights are multiplied by as well (ADR 0053).
    """
    copy = directory.with_name(f"{directory.name}-judge")
    shutil.copytree(directory, copy, dirs_exist_ok=True)
    for artifact in copy.glob("shard-*.onnx"):
        model = onnx.load(artifact, load_external_data=False)
        for node in model.graph.node:
            for attribute in node.attribute:
                if attribute.name == "accuracy_level":
                    attribute.i = _FLOATS
        onnx.save(model, artifact)
    return copy


class Judge:
    """The version in *directory*, on this processor."""

    def __init__(self, directory):
        manifest = read_manifest(directory)
        self._model = Pipeline.open(directory, manifest, 1, manifest.context, threads=1)
        self._tokenizer = Tokenizer.read(directory)

    def hold(self, prompt, answers):
        """Hold *answers* to *prompt*, each of which has tokens and their logprobs.

        Raises:
            NotThose: one is none that this model gives.
        """
        before = self._tokenizer.encode(prompt, special=True)
        found = [held(one.tokens, told(one), self._rows(before, one.tokens)) for one in answers]
        return Held(*map(sum, zip(*found, strict=True)))

    def _rows(self, before, tokens):
        """Logits of each of *tokens*, float32[tokens, vocabulary]."""
        columns = np.array([[*before, *tokens[:-1]]])
        places = np.arange(len(before) - 1, columns.shape[1])
        wanted = np.stack([np.zeros_like(places), places], axis=1)
        return self._model.step(columns, np.zeros(1, np.int64), wanted)


def told(answer):
    """How likely the answer says that each of its tokens was."""
    return [next(iter(entry.values()))["logprob"] for entry in answer.logprobs]


def held(tokens, logprobs, rows):
    """Hold *tokens* and what is told of them against *rows*, their logits.

    Raises:
        NotThose: another token was better, or a number is another one.
    """
    if not len(tokens) == len(logprobs) == len(rows) > 0:
        raise NotThose(f"{len(tokens)} tokens, {len(logprobs)} numbers and {len(rows)} rows")
    rows = rows.astype(np.float64)
    own = rows[np.arange(len(tokens)), tokens]
    second, best = np.sort(rows, axis=-1)[:, -2:].T
    behind = float(np.max(best - own))
    if not behind <= TOLERANCE:
        raise NotThose(f"a token is {behind:.3g} behind the best one")
    sums = np.log(np.exp(rows - best[:, None]).sum(-1)) + best
    apart = float(np.max(np.abs(own - sums - logprobs)))
    if not apart <= TOLERANCE:
        raise NotThose(f"a log probability is off by {apart:.3g}")
    return Held(len(tokens), int(np.count_nonzero(best - second <= TOLERANCE)))


def expect_force(all_held):
    """Refuse a comparison that nearly any text would have passed.

    Raises:
        NotThose: too many tokens were as good as another one.
    """
    tokens, even = map(sum, zip(*all_held, strict=True))
    if not even <= MOST_EVEN * tokens:
        raise NotThose(f"for {even} of {tokens} tokens another one was as good: this shows nothing")
    return Held(tokens, even)
