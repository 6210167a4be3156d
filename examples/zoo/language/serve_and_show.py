"""Place Python's documentation, then questions, through the ensemble; show what lies nearest."""

import asyncio
import html
from collections.abc import Sequence

import numpy as np

from penstock.client import AsyncClient
from zoo.common.place import Array, Place
from zoo.common.results import Exhibit, Picture, at_least
from zoo.language.export import MODEL
from zoo.language.passages import QUESTIONS, Passage, read

AT_ONCE = 8
SHOWN = 4


def show(url: str, _: Place) -> Exhibit:
    """How often the right topic is among the first five; some questions with their passages."""
    passages = read()
    places = asyncio.run(placed(url, [f"{one.topic}: {one.text}" for one in passages]))
    questions = asyncio.run(placed(url, list(QUESTIONS)))
    best = np.argsort(-(questions @ places.T), axis=1)[:, :5]
    right = [
        any(passages[one].topic in topics for one in row)
        for row, topics in zip(best, QUESTIONS.values(), strict=True)
    ]
    pictures = [
        _answer(question, [(passages[one], float(questions[place] @ places[one])) for one in row])
        for place, (question, row) in enumerate(zip(QUESTIONS, best, strict=True))
        if place < SHOWN
    ]
    goal = at_least("questions with the right topic in the first five", np.mean(right), 0.8)
    return Exhibit([goal], pictures)


async def placed(url: str, texts: Sequence[str]) -> Array:
    """Where each text lies [texts, 384]; several requests under way, each of one text."""
    room = asyncio.Semaphore(AT_ONCE)
    async with AsyncClient(url) as client:

        async def one(text: str) -> Array:
            async with room:
                rows = np.array([[text.encode()]], dtype=object)
                return (await client.infer(MODEL, {"TEXT": rows}))["PLACE"][0]

        return np.array(await asyncio.gather(*map(one, texts)))


def _answer(question: str, found: Sequence[tuple[Passage, float]]) -> Picture:
    rows = "".join(
        f"<tr><td class=n>{near:.2f}<td><b>{html.escape(passage.topic)}</b>"
        f"<td>{html.escape(passage.text[:150])} ..."
        for passage, near in found
    )
    text = "Nearness (the cosine), topic, and how the passage begins."
    return Picture(question, text, f"<table>{rows}</table>")
