"""Why a model could not be cut."""

from penstock.errors import Code, PenstockError


class CannotShard(PenstockError):
    """The model, or what was asked of it, does not allow it; the text says what to change."""

    code = Code.INVALID_ARGUMENT


class TooManyStages(CannotShard):
    """The model has fewer places to cut than were asked for."""

    def __init__(self, stages: int, possible: int) -> None:
        super().__init__(
            f"cannot cut this model into {stages} stages: it allows {possible} at most; "
            f"ask for --stages {possible} or fewer"
        )
        self.stages, self.possible = stages, possible


class PipelineDiffers(CannotShard):
    """The stages in a row do not answer as the whole model does."""

    code = Code.INTERNAL

    def __init__(self, output: str, batch: int | None, difference: str) -> None:
        at = "" if batch is None else f" at batch size {batch}"
        super().__init__(
            f"the stages do not answer as the whole model does: output '{output}' differs "
            f"{difference}{at}; nothing was written"
        )
        self.output, self.batch = output, batch
