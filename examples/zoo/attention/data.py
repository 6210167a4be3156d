"""Snippets of film reviews, each rated by twenty people from -4 to 4 (Hutto and Gilbert, 2014)."""

import importlib.util
import tarfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zoo.common.packages import unpacked

HELD_OUT = 5
"""Every fifth snippet is held out."""


@dataclass(frozen=True, slots=True)
class Snippets:
    """Texts, and their mean ratings [n]."""

    texts: list[str]
    ratings: npt.NDArray[np.float32]


@cache
def read() -> tuple[Snippets, Snippets]:
    """What is learned from, and what is held out."""
    with tarfile.open(_source() / "additional_resources" / "hutto_ICWSM_2014.tar.gz") as archive:
        file = archive.extractfile("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt")
        lines = file.read().decode("utf-8", "replace").splitlines() if file else []
    rows = [line.split("\t", 2) for line in lines if line.count("\t") >= 2]
    # Several snippets are of one review; neighbours stay together.
    held = [place // 20 % HELD_OUT == 0 for place in range(len(rows))]
    return tuple(  # type: ignore[return-value]
        Snippets(
            [row[2] for row, out in zip(rows, held, strict=True) if out is wanted],
            np.array([row[1] for row, out in zip(rows, held, strict=True) if out is wanted], "f4"),
        )
        for wanted in (False, True)
    )


def lexicon() -> Any:
    """VADER itself: `polarity_scores(text)["compound"]`."""
    path = _source() / "vaderSentiment" / "vaderSentiment.py"
    spec = importlib.util.spec_from_file_location("vader", path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SentimentIntensityAnalyzer()


def _source() -> Path:
    return unpacked("vaderSentiment") / "vaderSentiment-3.3.2"
