"""Export the encoder, give the tokenizer its vocabulary, and say what PyTorch makes of a text."""

import importlib.util
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from zoo.common.agreement import Case
from zoo.common.onnx_files import export_onnx, prove
from zoo.common.place import Array, Place
from zoo.language.network import package, published
from zoo.language.passages import QUESTIONS, read

MODEL = "sentence"
MOST_PIECES = 128


def export(place: Place) -> None:
    """Write the encoder's artifact, proved on passages, and the vocabulary."""
    tokens = place.models / "sentence_tokens" / "1"
    shutil.copyfile(package() / "vocab.txt", tokens / "vocab.txt")
    encoder, path = published(), place.artifact("sentence_encoder")
    sample = {name: torch.ones(2, 9, dtype=torch.long) for name in ("pieces", "mask")}
    sizes = {name: {0: "batch", 1: "length"} for name in sample}
    export_onnx(encoder, sample, ["meaning"], path, sizes)
    pieces, mask = _tokens(place, [passage.text for passage in read()[:40:10]])
    with torch.no_grad():
        meaning = encoder(torch.from_numpy(pieces), torch.from_numpy(mask)).numpy()
    prove(path, {"pieces": pieces, "mask": mask}, {"meaning": meaning})


def _tokens(place: Place, texts: Sequence[str]) -> tuple[Array, Array]:
    """Pieces and mask [texts, n], by the tokenizer that is served."""
    folder = place.models / "sentence_tokens" / "1"
    words = (folder / "vocab.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    tokenizer = _module(folder / "wordpiece.py").WordPiece(words)
    rows = [tokenizer.pieces(text, MOST_PIECES) for text in texts]
    pieces = np.zeros((len(rows), max(map(len, rows))), np.int64)
    mask = np.zeros_like(pieces)
    for place_, row in enumerate(rows):
        pieces[place_, : len(row)], mask[place_, : len(row)] = row, 1
    return pieces, mask


def _module(path: Any) -> Any:
    spec = importlib.util.spec_from_file_location("wordpiece", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cases(place: Place) -> list[Case]:
    """Questions and passages, one or several texts in a request."""
    texts = [*list(QUESTIONS)[:4], *(passage.text for passage in read()[:60:20])]
    encoder, steps = published(), []
    for part in ([texts[0]], texts[1:4], texts[4:]):
        pieces, mask = _tokens(place, part)
        with torch.no_grad():
            meaning = encoder(torch.from_numpy(pieces), torch.from_numpy(mask))
        there = torch.from_numpy(mask)[:, :, None].float()
        mean = (meaning * there).sum(1) / there.sum(1)
        found = torch.nn.functional.normalize(mean, dim=1).numpy()
        rows = np.array([[text.encode()] for text in part], dtype=object)
        steps.append(({"TEXT": rows}, {"PLACE": found}))
    return [Case(MODEL, steps)]
