"""What a model of speech has beside a text model: its encoder, and tokens that are no words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from penstock.errors import InvalidRequest

RATE: Final = 16_000
"""Samples of a second."""

HOP: Final = 160
"""Samples from one frame of the spectrum to the next."""

TIMESTAMP_S: Final = 0.02
"""Seconds from one timestamp token to the next."""

TRANSCRIBE, TRANSLATE = "transcribe", "translate"
TASKS: Final = (TRANSCRIBE, TRANSLATE)

_MOST_POSITIONS: Final = 6000


@dataclass(frozen=True, slots=True)
class Speech:
    """The encoder of a model of Whisper's layout, and the tokens that say what is wanted.

    Attributes:
        artifact: the encoder's file; weights are beside it.
        weight_bytes: in the artifact and beside it.
        mels: bands of the spectrum that it hears.
        positions: that it makes of a window; each is two frames of 10 ms.
        begin: the token behind which the answer is about what was heard.
        previous: the token behind which is text from before.
        transcribe, translate, no_timestamps: tokens.
        languages: code -> token; empty where the model knows English alone, and no tasks.
        suppressed: tokens that never come.
        suppressed_first: those that are not the first of a text either.
    """

    artifact: str
    weight_bytes: int
    mels: int
    positions: int
    begin: int
    previous: int
    transcribe: int
    translate: int
    no_timestamps: int
    languages: dict[str, int]
    suppressed: tuple[int, ...] = ()
    suppressed_first: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raise `ValueError` for what no encoder has."""
        numbers = (self.weight_bytes, self.mels, self.positions, self.begin, self.no_timestamps)
        if not all(isinstance(one, int) and one >= 0 for one in numbers):
            raise ValueError("a number of the encoder is none")
        if not 1 <= self.positions <= _MOST_POSITIONS or self.begin >= self.no_timestamps:
            raise ValueError("the encoder cannot be so")

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """What a manifest says.

        Raises:
            ValueError, TypeError: it cannot be so.
        """
        lists = {name: tuple(fields[name]) for name in ("suppressed", "suppressed_first")}
        return cls(**{**fields, **lists})

    @property
    def frames(self) -> int:
        """Of a window."""
        return 2 * self.positions

    @property
    def samples(self) -> int:
        """Of a window, at 16 kHz: the most that one request may have."""
        return self.frames * HOP

    @property
    def seconds(self) -> float:
        """Of a window."""
        return self.samples / RATE

    @property
    def end(self) -> int:
        """The token that ends a text: the last one before all of these."""
        return self.begin - 1

    @property
    def first_timestamp(self) -> int:
        """The token of the window's beginning; those of later times follow it."""
        return self.no_timestamps + 1

    def language_of(self, token: int) -> str | None:
        """The code of the language that *token* stands for."""
        return next((code for code, one in self.languages.items() if one == token), None)


def prompt_of(
    speech: Speech,
    language: str | None,
    task: str,
    before: Sequence[int],
    context: int,
    *,
    timestamps: bool,
) -> list[int]:
    """The tokens that ask the decoder to write down what was heard.

    Where *language* is None, a model of many languages says first which one it hears.

    Args:
        before: text that came before, of which the last half of the *context* is taken.
        timestamps: the answer says when its pieces begin and end.

    Raises:
        InvalidRequest: the model does not know the language, or the task.
    """
    beginning = [speech.previous, *before[1 - context // 2 :]] if before else []
    beginning.append(speech.begin)
    if task not in TASKS:
        raise InvalidRequest(f"task is {task[:40]!r}: it must be one of {', '.join(TASKS)}")
    if not speech.languages:
        if language not in (None, "en") or task != TRANSCRIBE:
            raise InvalidRequest(
                "the model knows English alone, and translates nothing: leave out language and task"
            )
        return beginning if timestamps else [*beginning, speech.no_timestamps]
    if language is None:
        if task != TRANSCRIBE:
            raise InvalidRequest(f"task '{task}' needs the option language: what is spoken")
        return beginning
    if language not in speech.languages:
        known = ", ".join(sorted(speech.languages))
        raise InvalidRequest(f"language is {language[:40]!r}: the model knows {known}")
    doing = speech.transcribe if task == TRANSCRIBE else speech.translate
    beginning += [speech.languages[language], doing]
    return beginning if timestamps else [*beginning, speech.no_timestamps]
