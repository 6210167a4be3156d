"""Embeddings: which output of a model they are, and of which inputs it makes them. Pure."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from penstock.errors import InvalidConfiguration
from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb

EMBEDDINGS: Final = "embeddings"
"""A parameter of config.pbtxt: the output that has a vector for each text."""

PADDING: Final = -1
"""Behind the tokens of a row that has fewer than the longest of its request."""

_WHERE: Final = f"parameters['{EMBEDDINGS}']"
_COUNTS: Final = ("INT32", "INT64", "UINT32", "UINT64")


class Embedder(NamedTuple):
    """How a model is asked for embeddings.

    Attributes:
        output: FP32 [rows, size].
        size: numbers of a vector.
        texts: the input that takes them, BYTES [rows, 1]; None where it takes tokens alone.
        tokens: the input that takes these, INT64 [rows, any], filled up with `PADDING`; None where
            it takes texts alone.
        counts: the output that says how many tokens each row had, [rows, 1]; None where it does
            not.
        most_rows: of a request.
    """

    output: str
    size: int
    texts: str | None
    tokens: str | None
    counts: str | None
    most_rows: int


def embedder_of(
    config: config_pb.ModelConfig,
    inputs: Sequence[pb.TensorSpec],
    outputs: Sequence[pb.TensorSpec],
) -> Embedder | None:
    """How a model of this configuration is asked for embeddings; None where it makes none.

    Args:
        inputs, outputs: the model's, with full shapes.

    Raises:
        InvalidConfiguration: it says that it makes embeddings, and cannot; says what to change.
    """
    if EMBEDDINGS not in config.parameters:
        return None
    name = config.parameters[EMBEDDINGS].string_value
    _check_kind(config)
    output = next((spec for spec in outputs if spec.name == name), None)
    if output is None or output.datatype != "FP32" or len(output.shape) != 2 or output.shape[1] < 1:
        raise InvalidConfiguration(
            f"{_WHERE} is '{name}': name an output of TYPE_FP32 with one dimension of a fixed "
            "size, a vector for each text"
        )
    texts = _only("inputs", inputs, ("BYTES",), 1)
    tokens = _only("inputs", inputs, ("INT64",), -1)
    if texts is None and tokens is None:
        raise InvalidConfiguration(
            f"{_WHERE}: the model needs an input of TYPE_STRING with dims [ 1 ] for texts, or of "
            "TYPE_INT64 with dims [ -1 ] for tokens"
        )
    _check_needed(inputs, texts, tokens)
    counts = _only("outputs", outputs, _COUNTS, 1)
    return Embedder(name, output.shape[1], texts, tokens, counts, config.max_batch_size)


def _check_kind(config: config_pb.ModelConfig) -> None:
    unfit = {
        "model_transaction_policy.decoupled": config.model_transaction_policy.decoupled,
        "sequence_batching": config.HasField("sequence_batching"),
    }
    for field, there in unfit.items():
        if there:
            raise InvalidConfiguration(f"{_WHERE}: it has one answer to each request: no {field}")
    if config.max_batch_size < 1:
        raise InvalidConfiguration(
            f"{_WHERE}: a request has many texts, one a row: set max_batch_size"
        )


def _only(
    kind: str, specs: Sequence[pb.TensorSpec], datatypes: Sequence[str], size: int
) -> str | None:
    """The name of the one among *specs* that is of such a type, [rows, size]."""
    found = [
        spec.name
        for spec in specs
        if spec.datatype in datatypes and len(spec.shape) == 2 and spec.shape[1] == size
    ]
    if len(found) > 1:
        raise InvalidConfiguration(
            f"{_WHERE}: which of the {kind} {', '.join(found)} is meant cannot be told: the model "
            f"may have one of {' or '.join(datatypes)} with dims [ {size} ]"
        )
    return found[0] if found else None


def _check_needed(inputs: Sequence[pb.TensorSpec], texts: str | None, tokens: str | None) -> None:
    """What nobody gives must be optional: each request has texts or tokens."""
    given = [name for name in (texts, tokens) if name is not None]
    for spec in inputs:
        if not spec.optional and given != [spec.name]:
            raise InvalidConfiguration(
                f"{_WHERE}: requests bring texts or tokens and nothing else: make the input "
                f"'{spec.name}' optional"
            )
