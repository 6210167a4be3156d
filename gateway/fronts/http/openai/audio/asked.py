"""What a form sent to /v1/audio/transcriptions asks for. Pure."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from penstock.gateway.fronts.http.openai.audio.forms import Part
from penstock.gateway.requests.language.fields import FieldRefused

MOST_FILE_BYTES: Final = 25 << 20
"""Of the file: as many as OpenAI takes."""

_MOST_TEXT: Final = 1 << 14
"""Characters of a field that is no file."""

_HOTTEST: Final = 1.0

_KNOWN: Final = frozenset(
    {
        *("file", "model", "language", "prompt", "response_format", "temperature"),
        *("timestamp_granularities", "stream", "chunking_strategy"),
    }
)
_SWITCH: Final = {"true": True, "false": False}


class Form(StrEnum):
    """How a transcript is answered."""

    JSON = "json"
    TEXT = "text"
    VERBOSE = "verbose_json"
    SRT = "srt"
    VTT = "vtt"

    @property
    def has_times(self) -> bool:
        """Whether it says when pieces of the text begin and end."""
        return self in (Form.VERBOSE, Form.SRT, Form.VTT)


class AskedTranscript(NamedTuple):
    """A request, read.

    Attributes:
        file: as it came.
        language: its code; None where the model shall say which it hears.
        prompt: text that came before.
        stream: it comes as server-sent events.
    """

    model: str
    file: memoryview
    language: str | None
    prompt: str
    form: Form
    temperature: float
    stream: bool


def transcript_of(parts: Sequence[Part]) -> AskedTranscript:
    """What the fields of a form ask for.

    Raises:
        FieldRefused: names the field that cannot be so.
    """
    fields: dict[str, Part] = {}
    for part in parts:
        name = part.name.removesuffix("[]")
        if name not in _KNOWN:
            raise FieldRefused(name, f"unknown field '{name}': remove it")
        if name in fields and name != "timestamp_granularities":
            raise FieldRefused(name, f"'{name}' is there twice")
        if name == "timestamp_granularities" and bytes(part.content) != b"segment":
            raise FieldRefused(
                name, f"{name} may have 'segment' alone: times of words are not offered yet"
            )
        fields[name] = part
    if _text(fields, "chunking_strategy", "auto") != "auto":
        raise FieldRefused("chunking_strategy", "chunking_strategy may be 'auto' alone")
    model = _text(fields, "model")
    if not model:
        raise FieldRefused("model", "model must be the name of a model")
    form = _form(_text(fields, "response_format", Form.JSON))
    return AskedTranscript(
        model,
        _file(fields),
        _text(fields, "language") or None,
        _text(fields, "prompt"),
        form,
        _temperature(_text(fields, "temperature", "0")),
        _stream(_text(fields, "stream", "false").lower(), form),
    )


def _file(fields: dict[str, Part]) -> memoryview:
    part = fields.get("file")
    if part is None or part.filename is None:
        raise FieldRefused("file", "file must be a file: send it with its name")
    if len(part.content) > MOST_FILE_BYTES:
        raise FieldRefused(
            "file",
            f"the file has {len(part.content)} bytes: at most {MOST_FILE_BYTES >> 20} MiB are "
            "taken; send 16 kHz and one channel, or pieces of it",
        )
    return part.content


def _text(fields: dict[str, Part], name: str, default: str = "") -> str:
    part = fields.get(name)
    if part is None:
        return default
    if len(part.content) > _MOST_TEXT:
        raise FieldRefused(name, f"{name} has more than {_MOST_TEXT} bytes")
    try:
        return bytes(part.content).decode()
    except UnicodeDecodeError:
        raise FieldRefused(name, f"{name} must be UTF-8") from None


def _form(text: str) -> Form:
    try:
        return Form(text)
    except ValueError:
        known = ", ".join(Form)
        raise FieldRefused(
            "response_format", f"response_format is '{text[:40]}': it must be one of {known}"
        ) from None


def _stream(text: str, form: Form) -> bool:
    if text not in _SWITCH:
        raise FieldRefused("stream", "stream must be true or false")
    if _SWITCH[text] and form is not Form.JSON:
        raise FieldRefused("stream", f"a stream has no {form}: set response_format to json")
    return _SWITCH[text]


def _temperature(text: str) -> float:
    try:
        temperature = float(text)
    except ValueError:
        temperature = -1.0
    if not 0 <= temperature <= _HOTTEST:
        raise FieldRefused("temperature", "temperature must be a number from 0 to 1")
    return temperature
