"""A checkpoint: the numbers of its architecture, its tensors one at a time, and its texts."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from penstock.exporting.architecture import Architecture
from penstock.exporting.errors import Damaged
from penstock.exporting.graphs.matrices import Blocks, Floats, nothing
from penstock.exporting.whisper.architecture import Whisper


@dataclass(frozen=True, slots=True)
class Texts:
    """What turns text into tokens and back.

    Attributes:
        tokenizer: a tokenizer.json, or None where the checkpoint has none.
        chat_template: or None.
        end_tokens: each ends an answer.
        defaults: options of a request, as the model's makers advise.
        template_variables: what the chat template knows beside messages.
    """

    tokenizer: bytes | None
    chat_template: str | None
    end_tokens: tuple[int, ...]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    template_variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpokenTexts(Texts):
    """What a model of speech has beside that.

    Attributes:
        suppressed: tokens that never come.
        suppressed_first: those that are not the first of a text either.
    """

    suppressed: tuple[int, ...] = ()
    suppressed_first: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An open checkpoint.

    Attributes:
        file: its name, for people.
        shapes: of its tensors, by the names that its architecture gives them.
        read: gets one as float32.
        blocks: gets one as whole numbers and scales, where it is stored so; else None.
        is_rounded: whether one is stored in few bits.
    """

    file: str
    architecture: Architecture | Whisper
    texts: Texts
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], Floats]
    blocks: Callable[[str], Blocks | None] = nothing
    is_rounded: Callable[[str], bool] = lambda _: False

    def check(self) -> None:
        """Hold each tensor's shape against what the architecture says, before any is read.

        Raises:
            Damaged: one is missing, or has another shape.
        """
        for name, shape in self.architecture.tensors():
            there = self.shapes.get(name)
            if there is None:
                raise Damaged(self.file, f"it lacks the tensor {name}")
            if there != shape:
                raise Damaged(
                    self.file, f"{name} has the shape {list(there)}, and should have {list(shape)}"
                )


def number(value: object, name: str, file: str) -> float:
    """*value*, which *file* has as *name*.

    Raises:
        Damaged: it is no number, or none that is finite.
    """
    is_float = isinstance(value, float) and math.isfinite(value)
    if isinstance(value, bool) or not (isinstance(value, int) or is_float):
        what = "is missing" if value is None else f"is {str(value)[:40]!r}"
        raise Damaged(file, f"{name} {what}")
    return cast("float", value)
