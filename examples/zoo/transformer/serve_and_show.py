"""Have words pronounced by the cluster; draw which letters each phoneme looked at."""

import asyncio
import html
from collections.abc import Sequence

import numpy as np

from penstock.client import AsyncClient, Client
from zoo.common.drawing import figure, svg
from zoo.common.place import Array, Place
from zoo.common.results import Exhibit, Picture, at_most
from zoo.transformer.data import read

WORDS = 400
AT_ONCE = 20
DRAWN = ("thoughtful", "wednesday", "penstock")
OWN = ("penstock", "turbine", "kubernetes", "tensor", "onnx", "valkey", "wednesday", "colonel")


def show(url: str, _: Place) -> Exhibit:
    """The share of phonemes that are wrong in held-out words, and the maps of some words."""
    held = read()[1]
    words, truth = held.spelled[:WORDS], held.said[:WORDS]
    said = asyncio.run(_pronounced(url, words))
    wrong = [
        min(
            (distance(text.split(), one) / len(one), distance(text.split(), one), len(one))
            for one in ones
        )[1:]
        for text, ones in zip(said, truth, strict=True)
    ]
    error = sum(one for one, _ in wrong) / sum(length for _, length in wrong)
    maps = [_map(url, word) for word in DRAWN]
    pictures = [_draw(maps), _list(url), _mistakes(words, said, truth)]
    return Exhibit([at_most("share of phonemes wrong, held-out words", error, 0.15)], pictures)


async def _pronounced(url: str, words: Sequence[str]) -> list[str]:
    async with AsyncClient(url) as client:
        parts = [words[start : start + AT_ONCE] for start in range(0, len(words), AT_ONCE)]
        found = await asyncio.gather(*(client.infer("phonemes", _request(part)) for part in parts))
    return [row[0].decode() for part in found for row in part["PHONEMES"]]


def _request(words: Sequence[str]) -> dict[str, Array]:
    return {"WORD": np.array([[word.encode()] for word in words], dtype=object)}


def distance(found: Sequence[str], wanted: Sequence[str]) -> int:
    """How many phonemes must be changed, added or dropped."""
    row = list(range(len(wanted) + 1))
    for place, one in enumerate(found, 1):
        corner, row[0] = row[0], place
        for column, other in enumerate(wanted, 1):
            changed = corner + (one != other)
            corner = row[column]
            row[column] = min(row[column] + 1, row[column - 1] + 1, changed)
    return row[-1]


def _map(url: str, word: str) -> tuple[str, list[str], Array]:
    with Client(url) as client:
        found = client.infer("phonemes", _request([word]))
    phonemes = found["PHONEMES"][0, 0].decode().split()
    return word, phonemes, found["LOOKED"][0, : len(phonemes), : len(word)]


def _draw(maps: Sequence[tuple[str, list[str], Array]]) -> Picture:
    drawn, axes = figure(7.5, 2.8, columns=len(maps))
    for axis, (word, phonemes, looked) in zip(axes[0], maps, strict=True):
        axis.imshow(looked, cmap="Blues", aspect="auto", vmin=0)
        axis.set_xticks(range(len(word)), list(word))
        axis.set_yticks(range(len(phonemes)), phonemes)
    text = "Cross-attention of the last layer: phonemes from top to bottom, letters to the right."
    return Picture("Which letters a phoneme looks at", text, svg(drawn))


def _list(url: str) -> Picture:
    said = asyncio.run(_pronounced(url, OWN))
    rows = "".join(f"<tr><td>{w}<td>{html.escape(s)}" for w, s in zip(OWN, said, strict=True))
    text = "As the cluster answers. Some are in no dictionary; some it may have learned."
    return Picture("Other words", text, f"<table>{rows}</table>")


def _mistakes(words: list[str], said: list[str], truth: list[list[list[str]]]) -> Picture:
    rows = [
        f"<tr><td>{html.escape(word)}<td>{html.escape(text)}<td>{' '.join(ones[0])}"
        for word, text, ones in zip(words, said, truth, strict=True)
        if text.split() not in ones
    ]
    head = "<tr><th>word<th>said<th>CMUdict"
    text = f"{len(rows)} of {len(words)} held-out words have a mistake; these are the first."
    return Picture("Mistakes", text, f"<table>{head}{''.join(rows[:8])}</table>")
