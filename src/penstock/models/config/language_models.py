"""What config.pbtxt must say, and must not, for language models; and where their texts are."""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from penstock.errors import InvalidConfiguration
from penstock.models.config.model_config import LANGUAGE
from penstock.protos import model_config_pb2 as pb

SLOTS: Final = "slots"
"""A parameter of config.pbtxt: answers that each worker computes at a time."""

DEFAULT_SLOTS: Final = 8
_MOST_SLOTS: Final = 256

PREFIX_CACHING: Final = "prefix_caching"
"""A parameter of config.pbtxt: whether answers begin with what slots have of others."""

TEXT_INPUT, TOKENS_INPUT, MESSAGES_INPUT = "text_input", "input_ids", "messages"
SAMPLING_INPUT = "sampling_parameters"
AUDIO_INPUT: Final = "audio"
"""Of a model of speech: samples at 16 kHz, of one channel."""

TEXT_OUTPUT, TOKENS_OUTPUT, LOGPROBS_OUTPUT = "text_output", "output_ids", "logprobs"
INPUTS: Final = {
    TEXT_INPUT: (pb.TYPE_STRING, 1),
    TOKENS_INPUT: (pb.TYPE_INT64, -1),
    MESSAGES_INPUT: (pb.TYPE_STRING, 1),
    SAMPLING_INPUT: (pb.TYPE_STRING, 1),
}
OUTPUTS: Final = {
    TEXT_OUTPUT: (pb.TYPE_STRING, 1),
    TOKENS_OUTPUT: (pb.TYPE_INT64, -1),
    LOGPROBS_OUTPUT: (pb.TYPE_STRING, 1),
}
"""Tensors as Triton's backends for language models name them: datatype, and size; and messages."""

_OF_LEVELS: Final = frozenset(
    {
        *("priority_levels", "default_priority_level"),
        *("default_queue_policy", "priority_queue_policy"),
    }
)
"""Fields of dynamic_batching that say in which order requests wait."""

_TEXTS: Final = "penstock_texts"
"""A parameter that workers add: the texts that gateways need, by their digests in the registry."""


class PrefixCaching(StrEnum):
    """Whether an answer begins with what a slot has of another one of the same caller.

    AUTO: where that was seen to change no bit, on this processor and runtime.
    """

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class Text(NamedTuple):
    """A file of text that is kept in the registry: its *digest*, and its *size* in bytes."""

    digest: str
    size: int


def is_language_model(config: pb.ModelConfig) -> bool:
    """Whether it answers with text, token by token."""
    return config.backend == LANGUAGE


def slots(config: pb.ModelConfig) -> int:
    """How many answers each worker computes at a time.

    Raises:
        InvalidConfiguration: the parameter that says so is no number from 1 to 256.
    """
    return number_of(config, SLOTS, DEFAULT_SLOTS, _MOST_SLOTS)


def number_of(config: pb.ModelConfig, name: str, default: int, most: int) -> int:
    """What the parameter *name* says; raises unless it is a number from 1 to *most*, or absent."""
    if name not in config.parameters:
        return default
    text = config.parameters[name].string_value
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:5]) <= most):
        raise InvalidConfiguration(
            f"parameters['{name}'] is '{text}': write a number from 1 to {most}"
        )
    return int(text)


def prefix_caching(config: pb.ModelConfig) -> PrefixCaching:
    """Whether answers may begin with what slots have of others.

    Raises:
        InvalidConfiguration: the parameter that says so says something else.
    """
    if PREFIX_CACHING not in config.parameters:
        return PrefixCaching.AUTO
    text = config.parameters[PREFIX_CACHING].string_value
    if text not in tuple(PrefixCaching):
        raise InvalidConfiguration(
            f"parameters['{PREFIX_CACHING}'] is '{text}': write one of {', '.join(PrefixCaching)}"
        )
    return PrefixCaching(text)


def check_language_model(config: pb.ModelConfig, source: str) -> None:
    """Hold the configuration of a language model against what one can be.

    Raises:
        InvalidConfiguration: it asks for what language models have not; says what to change.
    """
    if not is_language_model(config):
        return
    slots(config)
    prefix_caching(config)
    if not config.model_transaction_policy.decoupled:
        raise InvalidConfiguration(
            f"{source}: a language model answers in parts: add "
            "model_transaction_policy { decoupled: true }"
        )
    batching = {field.name for field, _ in config.dynamic_batching.ListFields()} - _OF_LEVELS
    unfit = ["sequence_batching"] if config.HasField("sequence_batching") else sorted(batching)
    if config.HasField("dynamic_batching") and not config.dynamic_batching.priority_levels:
        unfit.append("dynamic_batching")
    if unfit:
        raise InvalidConfiguration(
            f"{source}: answers of a language model share steps by themselves: remove {unfit[0]}; "
            "dynamic_batching may have levels of priority alone"
        )
    if config.max_batch_size or config.input or config.output:
        raise InvalidConfiguration(
            f"{source}: a language model's tensors are always the same, without a batch "
            "dimension: remove max_batch_size, input and output"
        )


def complete_language_model(
    config: pb.ModelConfig, texts: Mapping[str, Text], *, hears: bool = False
) -> None:
    """Write down the tensors that *config* leaves out, and where its *texts* are kept.

    Args:
        hears: it is a model of speech: a request has audio, and no messages.
    """
    if hears:
        # A request that goes on with an answer names that alone.
        config.input.add(name=AUDIO_INPUT, data_type=pb.TYPE_FP32, dims=[-1], optional=True)
    for name, (datatype, size) in INPUTS.items():
        if not (hears and name == MESSAGES_INPUT):
            config.input.add(name=name, data_type=datatype, dims=[size], optional=True)
    for name, (datatype, size) in OUTPUTS.items():
        config.output.add(name=name, data_type=datatype, dims=[size])
    config.parameters[_TEXTS].string_value = json.dumps(texts, sort_keys=True)


def texts_of(config: pb.ModelConfig) -> dict[str, Text]:
    """The texts of a language model by their files' names; a worker has written them down."""
    said = json.loads(config.parameters[_TEXTS].string_value or "{}")
    return {name: Text(*text) for name, text in said.items()}
