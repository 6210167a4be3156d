"""Why a model could not be cut."""

from penstock.errors import Code, PenstockError


class CannotShard(PenstockError):
    """The model, or what was asked of it, does not allow it; the text says what to change."""

    code = Code.INVALID_ARGUMENT


class TooManyStages(CannotShard):
    """The model has fewer places to cut than were asked for."""

    def __init__(self, stages: int, possible: int) -> None:
        most, advice = "nowhere in it", "serve it whole (--stages 1)"
        if possible > 1:
            most = f"it allows {possible} at most: at no other place in it"
            advice = f"ask for --stages {possible} or fewer"
        super().__init__(
            f"cannot cut this model into {stages} stages: {most} do all tensors that must travel "
            f"have the batch as their first dimension; {advice}"
        )
        self.stages, self.possible = stages, possible


class NothingToRun(CannotShard):
    """No output depends on what is in the inputs."""

    def __init__(self) -> None:
        super().__init__(
            "no output of this model depends on the values of its inputs, so that no stage has "
            "anything to do: check that this is the right model"
        )


class PipelineDiffers(CannotShard):
    """The stages in a row do not answer as the whole model does."""

    code = Code.INTERNAL

    def __init__(self, output: str, batch: int | None, difference: str) -> None:
        super().__init__(
            f"the stages do not answer as the whole model does: output '{output}' differs "
            f"{difference}{_at(batch)}; nothing was written, try another number of --stages"
        )
        self.output, self.batch = output, batch


class AnswersVary(CannotShard):
    """The whole model does not answer as itself, so that nothing can be compared with it."""

    def __init__(self, output: str, batch: int | None) -> None:
        super().__init__(
            f"cannot tell whether the stages answer as the whole model does: output '{output}' "
            f"is another each time{_at(batch)}; remove what draws random numbers, such as dropout, "
            "before cutting"
        )
        self.output, self.batch = output, batch


class OneSizeOnly(CannotShard):
    """A size that is free by the model's own words has one value at which the model runs."""

    def __init__(self, place: str, size: int) -> None:
        super().__init__(
            f"{place} is free, but the model runs at size {size} and at none of the others that "
            "were tried, so that no cut can be proved: say its size with --input, as in "
            "image=-1,3,48,320:FP32"
        )
        self.place, self.size = place, size


class FrozenSize(CannotShard):
    """The stages hold at one value of a size that is free in the model."""

    code = Code.INTERNAL

    def __init__(self, place: str, size: int, why: str) -> None:
        super().__init__(
            f"{place} is free in the model, and its stages do not hold at size {size} ({why}); "
            "nothing was written: try another number of --stages, or fix that size with --input"
        )
        self.place, self.size = place, size


def _at(batch: int | None) -> str:
    return "" if batch is None else f" at batch size {batch}"
