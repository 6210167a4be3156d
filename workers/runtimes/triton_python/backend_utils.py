"""The module `triton_python_backend_utils` as Triton's Python models import it."""

import sys
from types import ModuleType
from typing import Any, Final

from penstock.workers.runtimes.triton_python.datatypes import (
    TRITON_STRING_TO_NUMPY,
    deserialize_bytes_tensor,
    numpy_to_triton_type,
    serialize_byte_tensor,
    triton_string_to_numpy,
    triton_to_numpy_type,
)
from penstock.workers.runtimes.triton_python.environment import current
from penstock.workers.runtimes.triton_python.errors import TritonError, TritonModelException
from penstock.workers.runtimes.triton_python.logger import Logger
from penstock.workers.runtimes.triton_python.memory import (
    TRITONSERVER_MEMORY_CPU,
    TRITONSERVER_MEMORY_GPU,
    MemoryType,
    PreferredMemory,
)
from penstock.workers.runtimes.triton_python.metrics import Metric, MetricFamily, MetricKind
from penstock.workers.runtimes.triton_python.model_config import (
    ModelConfig,
    get_input_config_by_name,
    get_output_config_by_name,
    using_decoupled_model_transaction_policy,
)
from penstock.workers.runtimes.triton_python.requests import (
    TRITONSERVER_REQUEST_FLAG_SEQUENCE_END,
    TRITONSERVER_REQUEST_FLAG_SEQUENCE_START,
    TRITONSERVER_REQUEST_RELEASE_ALL,
    TRITONSERVER_REQUEST_RELEASE_RESCHEDULE,
    InferenceRequest,
    InferenceTrace,
)
from penstock.workers.runtimes.triton_python.responses import (
    TRITONSERVER_RESPONSE_COMPLETE_FINAL,
    InferenceResponse,
    ResponseSender,
)
from penstock.workers.runtimes.triton_python.tensors import (
    Tensor,
    get_input_tensor_by_name,
    get_output_tensor_by_name,
)

__all__ = [
    "TRITONSERVER_MEMORY_CPU",
    "TRITONSERVER_MEMORY_GPU",
    "TRITONSERVER_REQUEST_FLAG_SEQUENCE_END",
    "TRITONSERVER_REQUEST_FLAG_SEQUENCE_START",
    "TRITONSERVER_REQUEST_RELEASE_ALL",
    "TRITONSERVER_REQUEST_RELEASE_RESCHEDULE",
    "TRITONSERVER_RESPONSE_COMPLETE_FINAL",
    "TRITON_STRING_TO_NUMPY",
    "InferenceRequest",
    "InferenceResponse",
    "InferenceResponseSender",
    "InferenceTrace",
    "Logger",
    "MemoryType",
    "Metric",
    "MetricFamily",
    "MetricKind",
    "ModelConfig",
    "PreferredMemory",
    "Tensor",
    "TritonError",
    "TritonModelException",
    "deserialize_bytes_tensor",
    "get_input_config_by_name",
    "get_input_tensor_by_name",
    "get_model_dir",
    "get_output_config_by_name",
    "get_output_tensor_by_name",
    "is_model_ready",
    "load_model",
    "numpy_to_triton_type",
    "serialize_byte_tensor",
    "triton_string_to_numpy",
    "triton_to_numpy_type",
    "unload_model",
    "using_decoupled_model_transaction_policy",
]

NAME: Final = "triton_python_backend_utils"

InferenceResponseSender = ResponseSender


def get_model_dir() -> str:
    """The directory of the model's version, where its own files are."""
    return str(current().version_folder)


def is_model_ready(model_name: str, model_version: str = "") -> bool:
    """Whether another model, or a version of it, takes requests now."""
    return current().caller().is_ready(model_name, model_version)


def load_model(*arguments: Any, **named: Any) -> None:
    """Refuse: a request must not change what the cluster serves.

    Raises:
        TritonModelException: always.
    """
    del arguments, named
    raise TritonModelException(_NOT_FROM_HERE.format("load_model", "RepositoryModelLoad"))


def unload_model(*arguments: Any, **named: Any) -> None:
    """Refuse, as `load_model`.

    Raises:
        TritonModelException: always.
    """
    del arguments, named
    raise TritonModelException(_NOT_FROM_HERE.format("unload_model", "RepositoryModelUnload"))


_NOT_FROM_HERE: Final = (
    "{} is not for models to call: a client of the cluster loads and unloads models, with {}"
)


def register() -> ModuleType:
    """Let models import this module under Triton's name."""
    for cls in (Tensor, InferenceRequest, InferenceResponse, TritonError, TritonModelException):
        # Errors name the type of what is no response, and clients read them.
        cls.__module__ = "c_python_backend_utils"
    module = sys.modules[__name__]
    sys.modules[NAME] = module
    return module
