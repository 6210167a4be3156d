"""References: how a stage of a model version's content is named, and the queue that it has."""

import re
from typing import NamedTuple

_QUEUE = re.compile(r"(.+):(\d+):(\d+)(?:~([^~]*))?")


class StageRef(NamedTuple):
    """One stage of a model version's content: what has a queue.

    While a version's content is replaced, requests for the old one wait in the old one's queue.
    """

    model: str
    version: int
    stage: int
    revision_id: str = ""

    @property
    def queue(self) -> str:
        """The queue's name inside its partition."""
        return f"{self.model}:{self.version}:{self.stage}{suffix(self.revision_id)}"

    @classmethod
    def of_queue(cls, queue: str) -> "StageRef":
        """The stage whose queue has this name."""
        found = _QUEUE.fullmatch(queue)
        if found is None:
            raise ValueError(f"no queue has the name {queue!r}")
        model, version, stage, revision_id = found.groups("")
        return cls(model, int(version), int(stage), revision_id)


def suffix(revision_id: str) -> str:
    """How the name of a stage, of a replica or of a worker ends when it has a *revision_id*."""
    return f"~{revision_id}" if revision_id else ""
