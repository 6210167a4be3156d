"""Requests for answers, as the rest of the gateway takes them. Pure."""

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from penstock.gateway.replies.content_digest import (
    BEGAN_PARAMETER,
    FROM_PARAMETER,
    RESUME_PARAMETER,
)
from penstock.language.manifest import Manifest
from penstock.models.config.language_models import (
    LOGPROBS_OUTPUT,
    SAMPLING_INPUT,
    TEXT_INPUT,
    TEXT_OUTPUT,
    TOKENS_INPUT,
)
from penstock.protos import grpc_service_pb2 as pb
from penstock.tensors import pack_bytes

_TEMPERATURE: Final = 1.0
"""Of requests that name none, to models whose makers advise none."""


def with_defaults(options: Mapping[str, Any], manifest: Manifest) -> dict[str, Any]:
    """*options* as they are meant: this API draws where nothing else is said."""
    temperature = manifest.defaults.get("temperature", _TEMPERATURE)
    return {"temperature": temperature, **options}


def request_for(
    model: str, prompt: str | list[int], options: Mapping[str, Any]
) -> pb.ModelInferRequest:
    """The request for one answer."""
    request = pb.ModelInferRequest(model_name=model)
    if isinstance(prompt, str):
        request.inputs.add(name=TEXT_INPUT, datatype="BYTES", shape=[1])
        request.raw_input_contents.append(pack_bytes([prompt]))
    else:
        request.inputs.add(name=TOKENS_INPUT, datatype="INT64", shape=[len(prompt)])
        request.raw_input_contents.append(np.asarray(prompt, "<i8").tobytes())
    request.inputs.add(name=SAMPLING_INPUT, datatype="BYTES", shape=[1])
    request.raw_input_contents.append(pack_bytes([json.dumps(options)]))
    request.outputs.add(name=TEXT_OUTPUT)
    if "logprobs" in options:
        request.outputs.add(name=LOGPROBS_OUTPUT)
    return request


def resume(request: pb.ModelInferRequest, name: str, begin: int, now_s: int = 0) -> None:
    """Let *request* be for the answer of that name, behind its first *begin* tokens.

    Args:
        now_s: when it begins if nobody has begun it yet, in seconds since 1970; 0: when it is kept.
    """
    if now_s:
        request.parameters[BEGAN_PARAMETER].int64_param = now_s
    request.parameters[RESUME_PARAMETER].string_param = name
    request.parameters[FROM_PARAMETER].int64_param = begin
