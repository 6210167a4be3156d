"""What came of a kind: goals with what was reached, and pictures."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Goal:
    """One number that must be good enough.

    Attributes:
        name: what was measured.
        aim: what is asked, in words: "at least 0.96".
        reached: the number.
        met: it is good enough.
    """

    name: str
    aim: str
    reached: float
    met: bool


def at_least(name: str, reached: float, aim: float) -> Goal:
    """A goal that is met from *aim* on."""
    return Goal(name, f"≥ {aim:g}", float(reached), bool(reached >= aim))


def at_most(name: str, reached: float, aim: float) -> Goal:
    """A goal that is met up to *aim*."""
    return Goal(name, f"≤ {aim:g}", float(reached), bool(reached <= aim))


@dataclass(frozen=True, slots=True)
class Picture:
    """Something to look at.

    Attributes:
        title: a line.
        text: what to see in it.
        content: an SVG document, PNG bytes, or HTML that is safe to show.
    """

    title: str
    text: str
    content: bytes | str


@dataclass(frozen=True, slots=True)
class Exhibit:
    """What a kind shows of itself, through the cluster."""

    goals: list[Goal]
    pictures: list[Picture]


@dataclass(slots=True)
class Record:
    """All that is known of one kind after a run.

    Attributes:
        path: from data to endpoint: what, seconds, bytes; None where there is none to say.
    """

    kind: str
    path: list[tuple[str, float | None, int | None]] = field(default_factory=list)
    exhibit: Exhibit = field(default_factory=lambda: Exhibit([], []))

    @property
    def met(self) -> bool:
        """Every goal is met, and there is one."""
        return bool(self.exhibit.goals) and all(goal.met for goal in self.exhibit.goals)
