"""A line for each kind that says what is being done for it."""

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

NAMES = ("waits", "trains", "exports", "is served", "agrees", "is shown")


class Stages:
    """Progress bars on a terminal; lines elsewhere."""

    def __init__(self, console: Console, kinds: list[str]) -> None:
        self._console = console
        columns = (
            TextColumn("{task.fields[kind]:12}"),
            BarColumn(24),
            TextColumn("{task.description}"),
        )
        self._bars = Progress(
            *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
        )
        self._tasks = {
            kind: self._bars.add_task("waits", total=len(NAMES), kind=kind, start=False)
            for kind in kinds
        }

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def reached(self, kind: str, stage: str, said: str = "") -> None:
        """The kind has come to *stage*."""
        task = self._tasks[kind]
        self._bars.start_task(task)
        self._bars.update(task, completed=NAMES.index(stage) + 1, description=said or stage)
        if stage == NAMES[-1]:
            self._bars.stop_task(task)
        if not self._console.is_terminal:
            self._console.print(f"{kind} {said or stage}")

    def all(self, said: str) -> None:
        """What is done for all of them."""
        if not self._console.is_terminal:
            self._console.print(said)
        for task in self._tasks.values():
            self._bars.update(task, description=said)
