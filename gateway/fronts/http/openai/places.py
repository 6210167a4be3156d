"""Places in streams of answers that may be resumed: what a client has, as the id of an event. Pure.

An id is the name that the client gave to the request, a colon, and for each answer of it how many
tokens the client has, with an ``e`` behind those of an answer whose end it has: ``n4me:12.7e``.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from penstock.errors import InvalidRequest
from penstock.gateway.requests.idempotency import is_printable

NAME_HEADER: Final = b"penstock-resume"
EVENT_HEADER: Final = b"last-event-id"
LONGEST_NAME: Final = 200

_PLACES: Final = re.compile(r"\d{1,9}e?(?:\.\d{1,9}e?)*", re.ASCII)


class Place(NamedTuple):
    """What a client has of one answer: so many tokens, and maybe its end."""

    tokens: int = 0
    ended: bool = False

    def __str__(self) -> str:
        return f"{self.tokens}{'e' if self.ended else ''}"


class Resumable(NamedTuple):
    """A request whose stream may be resumed.

    Attributes:
        places: of its answers; empty where the client has nothing.
    """

    name: str
    places: tuple[Place, ...] = ()

    def answer(self, index: int) -> str:
        """The name of its answer with this index."""
        return f"{self.name}/{index}"

    def place(self, index: int) -> Place:
        """What the client has of that answer."""
        return self.places[index] if self.places else Place()

    def event_id(self, places: Sequence[Place]) -> str:
        """The id of an event with which a client has *places*."""
        return f"{self.name}:{'.'.join(map(str, places))}"

    @property
    def token(self) -> str:
        """A name for it in answers: the same at all gateways."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:24]


def resumable_of(headers: Mapping[bytes, bytes]) -> Resumable | None:
    """What the headers of a request say of resuming; None where they say nothing.

    Raises:
        InvalidRequest: they say what cannot be.
    """
    given = headers.get(NAME_HEADER)
    event = headers.get(EVENT_HEADER, b"").decode("latin-1")
    if given is None and not event:
        return None
    found = _of_event(event) if event else Resumable("")
    if given is None:
        return found
    name = given.decode("latin-1")
    if not 1 <= len(name) <= LONGEST_NAME or not is_printable(name):
        raise InvalidRequest(
            f"the header Penstock-Resume must have 1 to {LONGEST_NAME} printable ASCII characters, "
            "no spaces"
        )
    if event and found.name != name:
        raise InvalidRequest(
            "the headers Penstock-Resume and Last-Event-ID are of different requests: send one"
        )
    return Resumable(name, found.places)


def checked(resumable: Resumable | None, answers: int, *, stream: bool) -> Resumable | None:
    """*resumable*, if it fits a request for so many *answers*.

    Raises:
        InvalidRequest: it is of another request.
    """
    if resumable is None or not resumable.places:
        return resumable
    if not stream:
        raise InvalidRequest("Last-Event-ID is for streams: set stream to true")
    if len(resumable.places) != answers:
        raise InvalidRequest(
            f"Last-Event-ID is of a request for {len(resumable.places)} answers, this one is for "
            f"{answers}: send the same request again"
        )
    return resumable


def _of_event(event: str) -> Resumable:
    name, _, places = event.rpartition(":")
    fits = 1 <= len(name) <= LONGEST_NAME and is_printable(name)
    if not fits or not _PLACES.fullmatch(places):
        raise InvalidRequest("Last-Event-ID must be the id of an event that this API has sent")
    return Resumable(name, tuple(map(_place, places.split("."))))


def _place(text: str) -> Place:
    return Place(int(text.removesuffix("e")), text.endswith("e"))
