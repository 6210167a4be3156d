"""config.pbtxt: what a model's owner says about it, read strictly.

The format is Triton's `ModelConfig` in protobuf's text form. A field that Penstock does not
implement is refused by its name, never ignored; a field that is spelled out with its default
(`response_cache { enable: false }`) says nothing and is fine. What the configuration leaves open
is completed from the artifacts later, in `completion`.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, cast

from google.protobuf import json_format, text_format
from google.protobuf.message import Message

from penstock.datatypes import DATATYPES
from penstock.errors import InvalidConfiguration
from penstock.models.config import ensembles, policies, reshape, warmup
from penstock.models.config.fields import CHOICES, Support, field_of
from penstock.models.config.response_cache import cache_problems
from penstock.models.config.sequence_config import sequence_problems
from penstock.protos import model_config_pb2 as pb
from penstock.protos.pool import POOL

PYTHON: Final = "python"
"""The runtime, and the `backend`, of models that are Python code."""

LANGUAGE: Final = "language"
"""The runtime, and the `backend`, of language models that `penstock export` has made."""

MOST_PRIORITY_LEVELS: Final = 1023
"""As many as the order of a queue tells apart exactly (lua/lib/ready.lua)."""

PLATFORM_RUNTIMES: Final[dict[str, str | None]] = {
    "onnxruntime_onnx": "onnxruntime",
    "pytorch_libtorch": "pytorch",
    "pytorch_export": "pytorch",
    "penstock_pipeline": None,
    ensembles.PLATFORM: None,
}
"""`platform` -> the runtime that each stage must have; None: stages may differ."""

BACKEND_RUNTIMES: Final[dict[str, str | None]] = {
    "onnxruntime": "onnxruntime",
    "pytorch": "pytorch",
    PYTHON: PYTHON,
    LANGUAGE: LANGUAGE,
    "penstock": None,
}
"""The same for `backend`."""


@dataclass(frozen=True, slots=True)
class Instances:
    """How many workers a model's owner wants for each stage, and where.

    Attributes:
        replicas: workers for each stage, over the whole cluster.
        device_kind: "cpu", "cuda", or None for either.
        gpus: indices of the cuda devices that may hold them; empty for any.
    """

    replicas: int = 1
    device_kind: str | None = None
    gpus: frozenset[int] = frozenset()


def parse(text: str, source: str) -> pb.ModelConfig:
    """The configuration that *text* holds.

    Args:
        text: protobuf's text format.
        source: the file's name, for errors.

    Raises:
        InvalidConfiguration: for a syntax error or an unknown field, with file and line; for a
            field that Penstock does not implement, with its path; for a value that cannot be.
    """
    config = pb.ModelConfig()
    try:
        text_format.Parse(text, config)
    except text_format.ParseError as error:
        raise InvalidConfiguration(_syntax_error(error, source)) from None
    except (ValueError, RecursionError) as error:
        # A number that is no value of its enumeration, or a nesting without end.
        raise InvalidConfiguration(f"{source}: {error}") from None
    return _checked(config, source)


def parse_json(text: str, source: str) -> pb.ModelConfig:
    """As `parse`, for protobuf's JSON form."""
    config = pb.ModelConfig()
    try:
        json_format.Parse(text, config, descriptor_pool=POOL)
    except (json_format.ParseError, ValueError, RecursionError) as error:
        raise InvalidConfiguration(f"{source}: {error}") from None
    return _checked(config, source)


def _checked(config: pb.ModelConfig, source: str) -> pb.ModelConfig:
    problem = next(_problems(config, config.name or source.partition("/")[0]), None)
    if problem is not None:
        raise InvalidConfiguration(f"{source}: {problem}")
    return config


def _problems(config: pb.ModelConfig, name: str) -> Iterator[str]:
    """What the configuration of the model *name* cannot be; the first of it is told."""
    refused = ", ".join(_unsupported_fields(config))
    if refused:
        yield f"Penstock does not implement {refused}; remove it or set it to its default"
    yield from _unknown_numbers(config)
    for field, table in (("platform", PLATFORM_RUNTIMES), ("backend", BACKEND_RUNTIMES)):
        value = getattr(config, field)
        if value and value not in table:
            yield f"{field} '{value}' is not supported; Penstock has {', '.join(sorted(table))}"
    if config.max_batch_size < 0:
        yield f"max_batch_size must be 0 or more, got {config.max_batch_size}"
    yield from _tensor_problems(config)
    yield from _instance_problems(config)
    for tag in config.metric_tags:
        if not (tag.isascii() and tag.replace("_", "a").isalnum()):
            yield f"metric_tags: '{tag}' cannot name a label: use letters, digits and _"
    yield from warmup.problems(config)
    yield from (f"dynamic_batching: {one}" for one in _batching_problems(config.dynamic_batching))
    yield from (f"sequence_batching: {one}" for one in sequence_problems(config))
    yield from cache_problems(config)
    yield from ensembles.problems(config, name)
    if config.version_policy.WhichOneof("policy_choice") == "specific":
        versions = config.version_policy.specific.versions
        if not versions or min(versions) < 1:
            yield "version_policy.specific must list versions, each 1 or more"


def _unknown_numbers(message: Message) -> Iterator[str]:
    """Numbers that are no value of their enumeration: protobuf takes any."""
    for field, value in message.ListFields():
        if field.enum_type is not None:
            known = field.enum_type.values_by_number
            for number in [value] if isinstance(value, int) else value:
                if number not in known:
                    yield f"{field.name}: {number} is no {field.enum_type.name}"
        for child in _messages_in(value):
            yield from _unknown_numbers(child)


def _unsupported_fields(message: Message, path: str = "") -> Iterator[str]:
    """The fields of *message* that Penstock refuses: the path of each, and its note."""
    for field, value in message.ListFields():
        name = f"{path}{field.name}"
        line = field_of(message.DESCRIPTOR.full_name, field.name)
        if line is None or line.support == Support.REFUSED:
            if field.name in CHOICES or not _is_default(value):
                yield f"'{name}' ({line.note})" if line and line.note else f"'{name}'"
            continue
        for child in _messages_in(value):
            yield from _unsupported_fields(child, f"{name}.")


def instances(config: pb.ModelConfig) -> Instances:
    """What `instance_group` asks for; one worker anywhere when it is absent.

    A group's `count` is for each of its `gpus`, as in Triton.

    Raises:
        InvalidConfiguration: groups of different kinds, or gpus on a group that is not KIND_GPU.
    """
    if not config.instance_group:
        return Instances()
    kinds = {_device_kind(group) for group in config.instance_group}
    if len(kinds) > 1:
        raise InvalidConfiguration("all instance groups of a model must be of one kind")
    return Instances(
        replicas=sum((g.count or 1) * max(1, len(g.gpus)) for g in config.instance_group),
        device_kind=kinds.pop(),
        gpus=frozenset(gpu for group in config.instance_group for gpu in group.gpus),
    )


def datatype_of_config(kind: pb.DataType) -> str:
    """The wire's name for a `TYPE_...` of the configuration: TYPE_STRING is BYTES."""
    if kind == pb.DataType.TYPE_STRING:
        return "BYTES"
    return pb.DataType.Name(kind).removeprefix("TYPE_")


def config_type_of(datatype: str) -> pb.DataType:
    """The `TYPE_...` for a datatype of the wire: BYTES is TYPE_STRING.

    Raises:
        InvalidConfiguration: the protocol has no such datatype.
    """
    if datatype not in DATATYPES:
        raise InvalidConfiguration(
            f"datatype {datatype} cannot be served; the protocol has {', '.join(sorted(DATATYPES))}"
        )
    name = "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
    return cast("pb.DataType", pb.DataType.Value(name))


def check_runtimes(config: pb.ModelConfig, runtimes: Iterable[str], source: str) -> None:
    """Hold what the configuration says of its runtime against the artifacts'.

    Raises:
        InvalidConfiguration: they differ.
    """
    for field, table in (("platform", PLATFORM_RUNTIMES), ("backend", BACKEND_RUNTIMES)):
        value = getattr(config, field)
        expected = table.get(value)
        wrong = sorted(set(runtimes) - {expected}) if expected else []
        if wrong:
            raise InvalidConfiguration(
                f"{source}: {field} is '{value}', but the artifacts are for {' and '.join(wrong)}; "
                f"remove {field}, or export the model for {expected}"
            )


def _device_kind(group: pb.ModelInstanceGroup) -> str | None:
    kind = pb.ModelInstanceGroup.Kind
    if group.kind == kind.KIND_GPU or (group.kind == kind.KIND_AUTO and group.gpus):
        return "cuda"
    if group.gpus:
        raise InvalidConfiguration("instance_group.gpus is only for KIND_GPU")
    return "cpu" if group.kind == kind.KIND_CPU else None


def _messages_in(value: object) -> Iterator[Message]:
    """The messages that a field's value holds: none, one, those of a list, or of a map."""
    if isinstance(value, Message):
        yield value
    elif hasattr(value, "values"):
        yield from (item for item in value.values() if isinstance(item, Message))
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        yield from (item for item in value if isinstance(item, Message))


def _is_default(value: object) -> bool:
    """Whether a present field says no more than an absent one: messages of defaults only."""
    return isinstance(value, Message) and all(_is_default(v) for _, v in value.ListFields())


def _syntax_error(error: text_format.ParseError, source: str) -> str:
    text = re.sub(r"^\d+:\d+ : ", "", str(error))
    unknown = re.search(r'Message type "([\w.]+)" has no field named "(\w+)"', text)
    if unknown:
        owner = unknown[1].removeprefix("inference.")
        text = f"unknown field '{unknown[2]}' in {owner}"
    return f"{source}:{error.GetLine() or 1}: {text}"


def _tensor_problems(config: pb.ModelConfig) -> Iterator[str]:
    for kind, tensors in (("input", config.input), ("output", config.output)):
        names: set[str] = set()
        for tensor in tensors:
            if not tensor.name:
                yield f"each {kind} must have a name"
            if tensor.name in names:
                yield f"{kind} '{tensor.name}' is listed twice"
            if tensor.data_type == pb.DataType.TYPE_INVALID:
                yield f"{kind} '{tensor.name}' must have a data_type"
            if any(dim < 1 and dim != -1 for dim in tensor.dims):
                yield (
                    f"{kind} '{tensor.name}': each of dims must be 1 or more, or -1 for any size, "
                    f"got {list(tensor.dims)}"
                )
            if isinstance(tensor, pb.ModelInput) and tensor.format and len(tensor.dims) != 3:
                yield f"input '{tensor.name}': FORMAT_NHWC and FORMAT_NCHW need 3 dims"
            wrong = reshape.problem(tensor)
            if wrong:
                yield f"{kind} '{tensor.name}': {wrong}"
            names.add(tensor.name)


def _instance_problems(config: pb.ModelConfig) -> Iterator[str]:
    for group in config.instance_group:
        if group.kind == pb.ModelInstanceGroup.Kind.KIND_MODEL:
            yield "instance_group.kind KIND_MODEL is not supported; use KIND_CPU or KIND_GPU"
        if group.count < 0 or any(gpu < 0 for gpu in group.gpus):
            yield "instance_group.count and .gpus must be 0 or more"
    try:
        instances(config)
    except InvalidConfiguration as error:
        yield str(error)


def _batching_problems(batching: pb.ModelDynamicBatching) -> Iterator[str]:
    for size in batching.preferred_batch_size:
        if size < 1:
            yield f"each preferred_batch_size must be 1 or more, got {size}"
    levels = batching.priority_levels
    if levels > MOST_PRIORITY_LEVELS:
        yield f"priority_levels must be at most {MOST_PRIORITY_LEVELS}, got {levels}"
    yield from policies.problems(batching)
