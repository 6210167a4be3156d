"""Digits, numbers and paths for a terminal of 80 columns."""

import re
from collections import Counter

import numpy as np
from load import Answers, Floats, Labels
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

_SHOWN = 7
_SHADES = " .:+#@"
_PATHS = 8


def draw_digits(console: Console, images: Floats, labels: Labels, answers: Answers) -> None:
    """A few images beside what the model says; the one that it got wrong, if any, is the last."""
    digits = answers.digits
    wrong = np.flatnonzero(digits != labels)[:1].tolist()
    right = [int(np.flatnonzero((labels == d) & (digits == labels))[:1].sum()) for d in range(10)]
    places = [*right[: _SHOWN - len(wrong)], *wrong]
    pictures = Table.grid(padding=(0, 3, 0, 0))
    pictures.add_row(*(_picture(images[place, 0], console) for place in places))
    pictures.add_row(*(_caption(place, labels, answers) for place in places))
    console.print()
    console.print(pictures)
    console.print()


def _picture(image: Floats, console: Console) -> Text:
    """Two pixels in a character where there are colours, shades of punctuation elsewhere."""
    text = Text(no_wrap=True)
    if not console.is_terminal or console.no_color:
        for row in image:
            text.append("".join(_SHADES[round(ink * (len(_SHADES) - 1))] for ink in row) + "\n")
    else:
        for upper, lower in zip(image[::2], image[1::2], strict=True):
            for top, bottom in zip(upper, lower, strict=True):
                text.append("▀", Style(color=_grey(top), bgcolor=_grey(bottom)))
            text.append("\n")
    text.rstrip()
    return text


def _grey(ink: float) -> str:
    level = round(24 + 231 * float(ink))
    return f"#{level:02x}{level:02x}{level:02x}"


def _caption(place: int, labels: Labels, answers: Answers) -> Text:
    digit, sure = int(answers.digits[place]), float(answers.probabilities[place].max())
    if digit == labels[place]:
        return Text.assemble((str(digit), "bold green"), (f" {sure:6.1%}", "dim"))
    return Text.assemble((str(digit), "bold red"), (f" not {labels[place]}", "red"))


def draw_summary(console: Console, labels: Labels, answers: Answers) -> None:
    """Accuracy, throughput, latency."""
    table = Table.grid(padding=(0, 3, 0, 0))
    right = int(np.sum(answers.digits == labels))
    table.add_row(
        "[bold]Accuracy",
        f"{answers.accuracy(labels):.1%}",
        f"{right} of {len(labels)} images that it had never seen",
    )
    answered = len(answers.latencies_ms)
    table.add_row(
        "[bold]Throughput",
        f"{answered / answers.seconds:,.0f}/s",
        f"{answered:,} answers in {answers.seconds:.1f} s, {answers.failed} failed, "
        f"{answers.differing} differing",
    )
    if answered:
        p50, p95, p99 = np.percentile(answers.latencies_ms, [50, 95, 99])
        table.add_row("[bold]Latency", f"p50 {p50:.1f} ms", f"p95 {p95:.1f} ms   p99 {p99:.1f} ms")
    console.print(table)
    console.print()


def draw_paths(console: Console, answers: Answers) -> None:
    """Which processes the requests went through, and how many took each way."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    ways = Counter({tuple(path.split(" > ")): count for path, count in answers.paths.items()})
    stops = max((len(way) for way in ways), default=1)
    for heading in ("Gateway", *(f"> Stage {stage}" for stage in range(stops - 1))):
        table.add_column(heading)
    table.add_column("Requests", justify="right")
    for way, count in ways.most_common(_PATHS):
        table.add_row(*(_process(stop) for stop in way), *[""] * (stops - len(way)), f"{count:,}")
    console.print(table)
    console.print()


def _process(stop: str) -> str:
    """Who it was: ``gateway-4711-c0ffee`` as process 4711, ``stage 0 worker host:4712`` so."""
    worker = re.fullmatch(r"stage \d+ worker (.+):(\d+)", stop)
    if worker:
        return f"worker {worker[2]} on {worker[1]}"
    gateway = re.fullmatch(r"gateway-(\d+)-\w+", stop)
    return f"gateway {gateway[1]}" if gateway else stop
