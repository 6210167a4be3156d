"""Model configurations as Triton's Python models see them: JSON, and what completes it."""

import json
from collections.abc import Iterator
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from penstock.protos import model_config_pb2 as config_pb
from penstock.protos.pool import POOL

Tensor = dict[str, Any]

_PLAIN: Final = frozenset({"name", "data_type", "dims"})
_OF_INPUTS: Final = _PLAIN | {"optional"}
_LONG: Final = frozenset(
    {
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT64,
    }
)


def as_json(config: config_pb.ModelConfig) -> str:
    """*config* as Triton writes it: all plain fields, by their names in the schema."""
    found = json_format.MessageToDict(
        config,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        descriptor_pool=POOL,
    )
    _make_numbers(found, config)
    return json.dumps(found, separators=(",", ":"))


def _make_numbers(found: dict[str, Any], message: Message) -> None:
    """Integers of 64 bits, which protobuf writes as text, are numbers in Triton's JSON."""
    for field in message.DESCRIPTOR.fields:
        if field.name not in found:
            continue
        value = found[field.name]
        if field.cpp_type in _LONG:
            found[field.name] = (
                [int(one) for one in value] if isinstance(value, list) else int(value)
            )
        elif field.message_type is not None:
            for inner, part in _parts(value, getattr(message, field.name)):
                _make_numbers(inner, part)


def _parts(value: Any, content: Any) -> Iterator[tuple[dict[str, Any], Message]]:
    """Each message in a field, as JSON has it and as protobuf does."""
    if isinstance(content, Message):
        yield value, content
    elif isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, dict):
                yield inner, content[key]
    else:
        yield from zip(value, content, strict=True)


class ModelConfig:
    """What `auto_complete_config` of a model may complete: the configuration that there is.

    Refusals have Triton's words.
    """

    def __init__(self, model_config: str) -> None:
        """*model_config*: JSON."""
        self._model_config: dict[str, Any] = json.loads(model_config)

    def as_dict(self) -> dict[str, Any]:
        """The configuration so far."""
        return self._model_config

    def set_max_batch_size(self, max_batch_size: int) -> None:
        """Allow batches up to this.

        Raises:
            ValueError: the configuration allows more.
        """
        config = self._model_config
        if config["max_batch_size"] > max_batch_size:
            raise ValueError(
                f"configuration specified max_batch_size {config['max_batch_size']}, but in "
                f"auto-complete-config function for model '{config['name']}' specified "
                f"max_batch_size {max_batch_size}"
            )
        config["max_batch_size"] = max_batch_size

    def set_dynamic_batching(self) -> None:
        """Let requests share a call of `execute`.

        Raises:
            ValueError: the configuration says otherwise.
        """
        for scheduler in ("sequence_batching", "ensemble_scheduling"):
            if scheduler in self._model_config:
                raise ValueError(
                    f"Configuration specified scheduling_choice as '{scheduler}', but "
                    f"auto-complete-config function for model '{self._model_config['name']}' "
                    "tries to set scheduling_choice as 'dynamic_batching'"
                )
        self._model_config.setdefault("dynamic_batching", {})

    def set_model_transaction_policy(self, transaction_policy_dict: dict[str, Any]) -> None:
        """Say whether the model is decoupled.

        Raises:
            ValueError: the configuration says otherwise, or there is more than that.
        """
        name = self._model_config["name"]
        for key in transaction_policy_dict:
            if key != "decoupled":
                raise ValueError(
                    "model transaction property in auto-complete-config function for model "
                    f"'{name}' contains property other than 'decoupled'."
                )
        policy = self._model_config.setdefault("model_transaction_policy", {})
        wanted = transaction_policy_dict.get("decoupled", False)
        if policy.get("decoupled") not in (None, wanted):
            raise ValueError(
                "trying to change decoupled property in auto-complete-config for model "
                f"'{name}', which is already set to '{policy['decoupled']}'."
            )
        policy["decoupled"] = wanted

    def add_input(self, input: Tensor) -> None:  # noqa: A002 - Triton calls it so
        """List an input, or complete one that is listed.

        Raises:
            ValueError: something is missing, unknown, or not as the configuration says.
        """
        self._add("input", input, _OF_INPUTS)

    def add_output(self, output: Tensor) -> None:
        """The same for an output."""
        self._add("output", output, _PLAIN)

    def _add(self, kind: str, tensor: Tensor, allowed: frozenset[str]) -> None:
        config = self._model_config
        where = f"in auto-complete-config function for model '{config['name']}'"
        for key in tensor:
            if key not in allowed:
                others = "'name', 'data_type' and 'dims'"
                if kind == "input":
                    others = "'name', 'data_type', 'dims' and 'optional'"
                raise ValueError(
                    f"{kind} '{tensor['name']}' {where} contains property other than {others}."
                )
        for key in ("name", "data_type", "dims"):
            if key not in tensor:
                named = f"{kind} '{tensor['name']}'" if "name" in tensor else kind
                raise ValueError(f"{named} {where} is missing '{key}' property.")
        for listed_one in config[kind]:
            if listed_one["name"] == tensor["name"]:
                self._complete(kind, listed_one, tensor)
                return
        config[kind].append(tensor)

    def _complete(self, kind: str, listed: Tensor, tensor: Tensor) -> None:
        model, name = self._model_config["name"], tensor["name"]
        if listed["data_type"] not in ("TYPE_INVALID", tensor["data_type"]):
            raise ValueError(
                f"unable to load model '{model}', configuration expects datatype "
                f"{listed['data_type']} for {kind} '{name}', model provides {tensor['data_type']}"
            )
        if listed["dims"] and listed["dims"] != tensor["dims"]:
            raise ValueError(
                f"model '{model}', tensor '{name}': the model expects dims {tensor['dims']} but "
                f"the model configuration specifies dims {listed['dims']}"
            )
        optional = tensor.get("optional", listed.get("optional"))
        if listed.get("optional", optional) != optional:
            raise ValueError(
                f"model '{model}', tensor '{name}': the model expects optional {optional} but the "
                f"model configuration specifies optional {listed['optional']}"
            )
        listed.update(tensor)


def get_input_config_by_name(model_config: dict[str, Any], name: str) -> Tensor | None:
    """What a configuration, as a dict, says of the input *name*; None where it says nothing."""
    return _tensor_config(model_config, "input", name)


def get_output_config_by_name(model_config: dict[str, Any], name: str) -> Tensor | None:
    """The same for an output."""
    return _tensor_config(model_config, "output", name)


def _tensor_config(model_config: dict[str, Any], kind: str, name: str) -> Tensor | None:
    listed: list[Tensor] = model_config.get(kind, [])
    return next((tensor for tensor in listed if tensor["name"] == name), None)


def using_decoupled_model_transaction_policy(model_config: dict[str, Any]) -> bool:
    """Whether a configuration, as a dict, is that of a decoupled model."""
    return bool(model_config.get("model_transaction_policy", {}).get("decoupled", False))
