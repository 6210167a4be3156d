"""What a request may ask of a language model, checked: sampling, penalties, and where to end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from penstock.errors import InvalidRequest
from penstock.language.grammar.structure import Structure

MOST_SEED: Final = (1 << 64) - 1
MOST_STOPS: Final = 16
LONGEST_STOP: Final = 256
MOST_BIASES: Final = 1024
MOST_LOGPROBS: Final = 20
_MOST_TOKENS: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """How an answer is drawn, and where it ends.

    Attributes:
        max_tokens: of the answer, at most; None for as many as the context has room for.
        temperature: 0 takes the likeliest token.
        top_k: only so many of the likeliest tokens; 0 for all.
        top_p: only the likeliest that together have this probability.
        min_p: only those with at least this share of the likeliest one's probability.
        repetition_penalty: divides what speaks for tokens of the prompt and the log; 1 for none.
        presence_penalty: taken from the logit of each token of the log.
        frequency_penalty: the same, as often as the token is there.
        logit_bias: token -> what is added to its logit.
        seed: what is drawn follows from it and from the position; None until the request is
            accepted.
        stop: texts that end the answer and are no part of it.
        stop_tokens: tokens that do.
        ignore_end: the model's own end tokens do not end the answer.
        structured_outputs: what its text must be.
        logprobs: how likely each token was is told, and so many of the likeliest in its place; None
            for nothing of the kind.
        echo: the text begins with the prompt's, and what is told of tokens with its tokens.
        timestamps: of speech: the tokens say when pieces of the text begin and end.
    """

    max_tokens: int | None = None
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_tokens: frozenset[int] = frozenset()
    ignore_end: bool = False
    structured_outputs: Structure | None = None
    logprobs: int | None = None
    echo: bool = False
    timestamps: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> Self:
        """The options that *given* names, and *defaults* where it names none.

        Raises:
            InvalidRequest: one is unknown, or has a value that it cannot have.
        """
        options = cls()
        for name, value in {**(defaults or {}), **given}.items():
            if name not in _READERS:
                raise InvalidRequest(
                    f"unknown option '{name}': there are {', '.join(sorted(_READERS))}"
                )
            options = replace(options, **{name: _READERS[name](name, value)})
        if options.ignore_end and options.structured_outputs is not None:
            raise InvalidRequest(
                "ignore_end cannot be together with structured_outputs, which says where the "
                "answer ends: remove one"
            )
        return options

    def seeded(self, draw: Callable[[], int]) -> Self:
        """These with a seed: their own, or what *draw* gives."""
        return self if self.seed is not None else replace(self, seed=draw() & MOST_SEED)


def _number(low: float, high: float, *, above: bool = False) -> Callable[[str, Any], float]:
    """A reader of numbers from *low* to *high*; *above*: not *low* itself."""

    def read(name: str, value: Any) -> float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        if not fits or not low <= value <= high or (above and value == low):
            least = f"more than {low:g}" if above else f"at least {low:g}"
            raise InvalidRequest(f"{name} must be a number, {least} and at most {high:g}")
        return float(value)

    return read


def _integer(low: int, high: int) -> Callable[[str, Any], int]:
    def read(name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InvalidRequest(f"{name} must be an integer from {low} to {high}")
        return value

    return read


def _stops(name: str, value: Any) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or len(texts) > MOST_STOPS:
        raise InvalidRequest(f"{name} must be a text, or a list of at most {MOST_STOPS}")
    if not all(isinstance(text, str) and 0 < len(text) <= LONGEST_STOP for text in texts):
        raise InvalidRequest(f"{name} must be texts of 1 to {LONGEST_STOP} characters")
    return tuple(texts)


def _tokens(name: str, value: Any) -> frozenset[int]:
    one = _integer(0, _MOST_TOKENS)
    if not isinstance(value, list | tuple | frozenset) or len(value) > MOST_STOPS:
        raise InvalidRequest(f"{name} must be a list of at most {MOST_STOPS} tokens")
    return frozenset(one(name, token) for token in value)


def _biases(name: str, value: Any) -> Mapping[int, float]:
    if not isinstance(value, Mapping) or len(value) > MOST_BIASES:
        raise InvalidRequest(f"{name} must map at most {MOST_BIASES} tokens to numbers")
    number, biases = _number(-100, 100), {}
    for key, bias in value.items():
        # Keys of JSON objects are text.
        digits = isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 10
        token = int(key) if digits else key
        biases[_integer(0, _MOST_TOKENS)(name, token)] = number(name, bias)
    return biases


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name} must be true or false")
    return value


_READERS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "max_tokens": _integer(1, _MOST_TOKENS),
    "temperature": _number(0, 100),
    "top_k": _integer(0, _MOST_TOKENS),
    "top_p": _number(0, 1, above=True),
    "min_p": _number(0, 1),
    "repetition_penalty": _number(0, 100, above=True),
    "presence_penalty": _number(-2, 2),
    "frequency_penalty": _number(-2, 2),
    "logit_bias": _biases,
    "seed": _integer(0, MOST_SEED),
    "stop": _stops,
    "stop_tokens": _tokens,
    "ignore_end": _switch,
    "structured_outputs": Structure.of,
    "logprobs": _integer(0, MOST_LOGPROBS),
    "echo": _switch,
    "timestamps": _switch,
}
