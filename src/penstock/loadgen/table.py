"""An outcome as a table for people."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from penstock.loadgen.outcome import QUANTILES, Outcome

_LATE_MS = 5.0


def render(outcome: Outcome, *, batch: int = 1) -> RenderableType:
    """Throughput, latencies and errors, in less than 80 columns."""
    parts: list[RenderableType] = [_throughput(outcome, batch)]
    if outcome.latency.count:
        parts += [Text(), _latencies(outcome)]
    if outcome.failed:
        parts += [Text(), _errors(outcome)]
    late_ms = outcome.lateness.quantile(0.99) / 1e6
    if outcome.lateness.count and late_ms > _LATE_MS:
        warning = (
            f"The load generator itself sent up to {late_ms:.0f} ms late (p99): these latencies "
            "are partly its own. Use more --processes, or a lower --rate."
        )
        parts += [Text(), Text(warning, style="yellow")]
    return Group(*parts)


def _throughput(outcome: Outcome, batch: int) -> Text:
    text = Text()
    text.append(f"{outcome.throughput_per_s:,.1f}", style="bold")
    text.append(" requests/s")
    if batch > 1:
        text.append(f" ({outcome.throughput_per_s * batch:,.1f} items/s)")
    text.append(f", {outcome.answered:,} answers in {outcome.duration_s:g} s")
    text.append(f", {outcome.failed:,} errors", style="red" if outcome.failed else "")
    return text


def _latencies(outcome: Outcome) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("latency")
    values = {name: outcome.latency_ms(share) for name, share in QUANTILES.items()}
    values["max"] = outcome.latency_ms(1.0)
    for name in values:
        table.add_column(name, justify="right")
    table.add_row("ms", *(f"{value:,.2f}" for value in values.values()))
    return table


def _errors(outcome: Outcome) -> Table:
    table = Table(box=None, header_style="bold red", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("errors", justify="right")
    table.add_column("code", no_wrap=True)
    table.add_column("first message", overflow="fold")
    for code, count in outcome.errors.most_common():
        table.add_row(f"{count:,}", code, Text(outcome.messages.get(code, "")))
    return table
