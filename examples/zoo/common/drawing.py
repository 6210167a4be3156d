"""Figures as SVG, which a page holds without any file beside it."""

import io
from typing import Any

INK, BLUE, RED, GREEN, GREY = "#1b2733", "#2468a8", "#c2452d", "#3a8a55", "#9aa5b1"
COLOURS = [BLUE, RED, GREEN, "#8a5fb0", "#d39b2a", "#3aa0a8"]


def figure(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Any, Any]:
    """A figure of so many inches, and its axes [rows, columns]."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams.update(
        {
            "svg.fonttype": "path",
            "svg.hashsalt": "zoo",
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": GREY,
            "text.color": INK,
            "axes.labelcolor": INK,
        }
    )
    drawn, axes = plt.subplots(
        rows, columns, figsize=(width, height), layout="constrained", squeeze=False
    )
    return drawn, axes


def svg(drawn: Any) -> bytes:
    """The figure as a document; it is closed."""
    from matplotlib import pyplot as plt

    file = io.BytesIO()
    drawn.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(drawn)
    return file.getvalue()
