"""Texts as numbers, by the model that is served."""

import importlib.util
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from zoo.attention.network import WORDS
from zoo.common.place import Array, Place

SEEN_AT_LEAST = 2


def tokenizer(place: Place) -> Any:
    """The module of the model `film_words`."""
    path = place.models / "film_words" / "1" / "model.py"
    spec = importlib.util.spec_from_file_location("film_words", path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_vocabulary(place: Place, texts: Sequence[str]) -> int:
    """Write the words that occur twice, after padding and the unknown one; returns how many."""
    split = tokenizer(place).split
    counts = Counter(word for text in texts for word in split(text, WORDS))
    kept = [word for word, count in counts.most_common() if count >= SEEN_AT_LEAST]
    words = ["", "?unknown", *kept]
    path = place.models / "film_words" / "1" / "vocabulary.txt"
    path.write_text("\n".join(words), encoding="utf-8")
    return len(words)


def numbers(place: Place, texts: Sequence[str]) -> Array:
    """Ids [texts, 48], as the served model makes them."""
    model = tokenizer(place).Model()
    folder = place.models / "film_words" / "1"
    model.load(SimpleNamespace(folder=folder, parameters={"words": str(WORDS)}))
    rows = np.array([[text.encode()] for text in texts], dtype=object)
    ids: Array = model.execute({"TEXT": rows}, {})["ids"]
    return ids
