"""Have held-out snippets rated; draw each word as dark as it weighed."""

import html

import numpy as np

from penstock.client import Client, InferResult
from zoo.attention.data import lexicon, read
from zoo.attention.export import MODEL
from zoo.common.drawing import BLUE, figure, svg
from zoo.common.place import Array, Place
from zoo.common.results import Exhibit, Picture, at_least

AT_ONCE = 64
SHOWN = 9
OWN = (
    "Not a good film at all.",
    "A good film, and never dull.",
    "I have seen worse, but not often.",
)


def show(url: str, _: Place) -> Exhibit:
    """Correlation with people's ratings, beside that of the lexicon."""
    held = read()[1]
    with Client(url) as client:
        parts = [
            _rated(client, held.texts[start : start + AT_ONCE])
            for start in range(0, len(held.texts), AT_ONCE)
        ]
        own = _rated(client, list(OWN))
    opinions = np.concatenate([part["OPINION"][:, 0] for part in parts])
    vader = lexicon()
    theirs = np.array([vader.polarity_scores(text)["compound"] for text in held.texts])
    ours, lexicons = (float(np.corrcoef(one, held.ratings)[0, 1]) for one in (opinions, theirs))
    goal = at_least(f"correlation with people; VADER has {lexicons:.3f}", ours, lexicons + 0.05)
    words = _words(parts[0], held.ratings) + _words(own, None)
    return Exhibit([goal], [_weights(words), _scatter(opinions, held.ratings)])


def _rated(client: Client, texts: list[str]) -> InferResult:
    return client.infer(MODEL, {"TEXT": np.array([[text.encode()] for text in texts], object)})


def _words(found: InferResult, ratings: Array | None) -> list[str]:
    """A line of HTML for each of the first snippets."""
    lines = []
    for place in range(min(SHOWN, len(found["OPINION"]))):
        opinion = float(found["OPINION"][place, 0])
        weights, words = found["WEIGHTS"][place], found["WORDS"][place]
        colour = "47,125,75" if opinion > 0 else "184,58,36"
        marked = " ".join(
            f'<span style="background:rgba({colour},{weight / weights.max():.2f})">'
            f"{html.escape(word.decode())}</span>"
            for word, weight in zip(words, weights, strict=True)
            if word
        )
        people = "" if ratings is None else f", people {ratings[place]:+.1f}"
        lines.append(f"<p class=words><b>{opinion:+.1f}</b>{people}: {marked}</p>")
    return lines


def _weights(lines: list[str]) -> Picture:
    text = (
        "The opinion from -4 to +4, and each word as dark as it weighed. The last three are of our "
        "own making."
    )
    return Picture("What it looks at", text, "".join(lines))


def _scatter(opinions: Array, ratings: Array) -> Picture:
    drawn, axes = figure(4.2, 3.4)
    (axis,) = axes[0]
    axis.scatter(ratings, opinions, s=3, color=BLUE, alpha=0.35, linewidths=0, rasterized=True)
    axis.set(xlabel="people's rating", ylabel="the network's opinion")
    return Picture("People and network", "Each point is a held-out snippet.", svg(drawn))
