"""One page that needs no network and no other file: goals, pictures, the way to the endpoint."""

import base64
import html
import importlib
import re
from collections.abc import Sequence
from pathlib import Path

from zoo.common.results import Picture, Record

_STYLE = """
:root { color-scheme: light; --ink: #1b2733; --faint: #66727f; --line: #dfe5ea; --good: #2f7d4b;
  --bad: #b83a24; }
body { font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; color: var(--ink); margin: 0 auto;
  max-width: 56rem; padding: 2rem 1.2rem; background: #fff; }
h1 { font-size: 1.9rem; margin: 0 0 .3rem; } h2 { margin: 3rem 0 .3rem; }
h3 { margin: 1.6rem 0 .1rem; font-size: 1rem; } p { margin: .3rem 0 .8rem; }
table { border-collapse: collapse; margin: .6rem 0; font-size: .9rem; }
td, th { text-align: left; padding: .2rem 1.4rem .2rem 0; border-bottom: 1px solid var(--line); }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
nav a { margin-right: 1rem; } a { color: #2468a8; }
img { max-width: 100%; } .faint { color: var(--faint); font-size: .9rem; }
.good { color: var(--good); } .bad { color: var(--bad); font-weight: bold; }
.words { line-height: 2.1; } .words span { padding: .15rem .25rem; border-radius: .2rem; }
pre { white-space: pre-wrap; background: #f5f7f9; padding: .6rem .8rem; font-size: .85rem; }
"""


def write_report(path: Path, records: Sequence[Record]) -> None:
    """Write the page to *path*."""
    links = "".join(f'<a href="#{one.kind}">{one.kind}</a>' for one in records)
    sections = "".join(_section(record) for record in records)
    path.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>The zoo</title>"
        f'<meta name=viewport content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>The zoo</h1><p>Networks of every kind, trained on real data, exported, served by "
        f"one Penstock cluster, and asked through it.</p><nav>{links}</nav>"
        f"{_overview(records)}{sections}</html>"
    )


def _overview(records: Sequence[Record]) -> str:
    rows = [
        f"<tr><td>{record.kind}<td>{_text(goal.name)}<td class=n>{goal.aim}"
        f"<td class=n>{goal.reached:.4g}<td class={'good>met' if goal.met else 'bad>missed'}"
        for record in records
        for goal in record.exhibit.goals
    ]
    head = "<tr><th>kind<th>what was measured<th>goal<th>reached<th>"
    return f"<h2>Goals</h2><table>{head}{''.join(rows)}</table>"


def _section(record: Record) -> str:
    module = importlib.import_module(f"zoo.{record.kind}")
    title, _, idea = (module.__doc__ or record.kind).strip().partition("\n\n")
    pictures = "".join(_picture(picture) for picture in record.exhibit.pictures)
    return (
        f"<h2 id={record.kind}>{_text(title.rstrip('.'))}</h2><p>{_text(idea)}</p>{pictures}"
        f"<h3>From data to endpoint</h3>{_path(record)}"
    )


def _picture(picture: Picture) -> str:
    content = picture.content
    if isinstance(content, bytes):
        kind = "png" if content.startswith(b"\x89PNG") else "svg+xml"
        data = base64.b64encode(content).decode()
        content = f'<img alt="{_text(picture.title)}" src="data:image/{kind};base64,{data}">'
    return (
        f"<h3>{_text(picture.title)}</h3><p class=faint>{_text(picture.text)}</p>"
        f"<div>{content}</div>"
    )


def _path(record: Record) -> str:
    rows = [
        f"<tr><td>{_text(what)}<td class=n>{'' if s is None else seconds(s)}"
        f"<td class=n>{'' if size is None else bytes_of(size)}"
        for what, s, size in record.path
    ]
    return f"<table>{''.join(rows)}</table>"


def seconds(value: float) -> str:
    """A time that people read: "3.1 ms", "74 s"."""
    return f"{value * 1e3:.2g} ms" if value < 1 else f"{value:.3g} s"


def bytes_of(value: int) -> str:
    """A size that people read."""
    return f"{value:,} B" if value < 1e4 else f"{value / 1e3:,.0f} KB"


def _text(text: str) -> str:
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(" ".join(text.split())))
