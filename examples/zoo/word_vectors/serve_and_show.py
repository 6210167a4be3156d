"""Ask for vectors of words that people have judged, for neighbours and sums; draw a map."""

import html
from collections.abc import Sequence

import numpy as np

from penstock.client import Client
from zoo.common.drawing import COLOURS, INK, figure, svg
from zoo.common.place import Array, Place
from zoo.common.results import Exhibit, Goal, Picture, at_least
from zoo.word_vectors.data import JUDGED, correlation, judged
from zoo.word_vectors.export import MODELS, SUMS, request

AT_ONCE = 64
ASKED = ("river", "violin", "angry", "bread", "physicist", "winter", "ship", "walk")
GROUPS = {
    name: words.split()
    for name, words in {
        "animals": "dog cat horse cow sheep wolf lion eagle snake spider salmon whale",
        "food": "bread cheese butter meat soup cake sugar wine beer coffee",
        "music": "music song violin piano trumpet drum melody opera singer",
        "body": "head arm leg hand heart liver bone skin eye ear",
        "weather": "rain snow wind storm cloud winter summer cold",
        "science": "physics chemistry mathematics atom electron theory geometry energy",
    }.items()
}


def show(url: str, place: Place) -> Exhibit:
    """Rank correlation with people's judgements, beside that of counting."""
    counted = place.load()["ppmi"]
    with Client(url) as client:
        goals = [
            _goal(client, model, name, float(bar))
            for model in MODELS
            for name, bar in zip(JUDGED, counted, strict=True)
        ]
        pictures = [_map(client), _neighbours(client), _sums(client)]
    return Exhibit(goals, pictures)


def _goal(client: Client, model: str, name: str, counted: float) -> Goal:
    pairs = judged(name)
    asked = sorted({word for first, second, _ in pairs for word in (first, second)})
    vectors = dict(zip(asked, _vectors(client, model, asked), strict=True))
    reached = correlation(name, lambda one, other: float(vectors[one] @ vectors[other]))
    title = f"{model}, rank correlation with {name} ({len(pairs)} pairs); PPMI has {counted:.3f}"
    return at_least(title, reached, counted)


def _vectors(client: Client, model: str, words: Sequence[str]) -> Array:
    parts = [
        client.infer(model, request([(word,) for word in words[start : start + AT_ONCE]]))
        for start in range(0, len(words), AT_ONCE)
    ]
    return np.concatenate([part["vector"] for part in parts])


def _map(client: Client) -> Picture:
    """Words in the plane: near each other what is near each other in 256 dimensions."""
    from sklearn.manifold import TSNE

    words = [word for group in GROUPS.values() for word in group]
    vectors = _vectors(client, MODELS[0], words)
    plane = TSNE(perplexity=8, init="pca", metric="cosine", random_state=1).fit_transform(vectors)
    colours = dict(zip(GROUPS, COLOURS, strict=True))
    drawn, axes = figure(7.5, 5)
    (axis,) = axes[0]
    kinds = [name for name, group in GROUPS.items() for _ in group]
    for word, kind, (x, y) in zip(words, kinds, plane, strict=True):
        axis.text(x, y, word, color=colours[kind], ha="center", va="center", fontsize=8)
    axis.set(xticks=[], yticks=[], xlim=_limits(plane[:, 0]), ylim=_limits(plane[:, 1]))
    axis.set_title(", ".join(GROUPS), color=INK, fontsize=8)
    text = "The colours are ours; the places are t-SNE's, from the vectors of word2vec alone."
    return Picture("A map of words", text, svg(drawn))


def _limits(values: Array) -> tuple[float, float]:
    edge = 0.06 * float(np.ptp(values))
    return float(values.min()) - edge, float(values.max()) + edge


def _neighbours(client: Client) -> Picture:
    columns = [_nearest(client, model, [(word,) for word in ASKED]) for model in MODELS]
    rows = "".join(
        f"<tr><td>{word}<td>{first}<td>{second}"
        for word, first, second in zip(ASKED, *columns, strict=True)
    )
    head = f"<tr><th>asked<th>{'<th>'.join(MODELS)}"
    text = "The first six of the ten that the cluster answers with."
    return Picture("What is nearest", text, f"<table>{head}{rows}</table>")


def _sums(client: Client) -> Picture:
    columns = [_nearest(client, model, SUMS) for model in MODELS]
    rows = "".join(
        f"<tr><td>{first} - {less} + {more}<td>{one}<td>{other}"
        for (first, less, more), one, other in zip(SUMS, *columns, strict=True)
    )
    head = f"<tr><th>asked<th>{'<th>'.join(MODELS)}"
    text = "Differences have a meaning too, if the corpus has said enough of both words."
    return Picture("Sums of words", text, f"<table>{head}{rows}</table>")


def _nearest(client: Client, model: str, rows: Sequence[Sequence[str]]) -> list[str]:
    found = client.infer(model, request(rows))["nearest"]
    return [html.escape(", ".join(word.decode() for word in row[:6])) for row in found]
