"""Why a checkpoint could not be exported."""

from penstock.errors import Code, PenstockError


class CannotExport(PenstockError):
    """The checkpoint, or what was asked of it, does not allow it; the text says what to change."""

    code = Code.INVALID_ARGUMENT


class Damaged(CannotExport):
    """A file of the checkpoint is not what it says it is."""

    def __init__(self, file: str, what: str) -> None:
        super().__init__(f"{file} is damaged: {what}; copy or download it again")
        self.file, self.what = file, what


class Unsupported(CannotExport):
    """The model has something that the exported stages would compute without."""

    def __init__(self, what: str, advice: str = "") -> None:
        super().__init__(f"cannot export {what}" + (f": {advice}" if advice else ""))
        self.what = what
