"""Write docs/compatibility.md from the code's own tables, or check that it is what they say.

RPCs come from the service's descriptor, extensions from what ServerMetadata may name, and fields of
config.pbtxt from `penstock.models.config.fields`. What each is like, where it is not exactly as
in Triton, is said here in one line for RPCs and extensions, and beside the field for fields.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from penstock.gateway.fronts.grpc.inference_service import EXTENSIONS, SERVICE
from penstock.models.config.fields import FIELDS, Field, Support
from penstock.protos import grpc_service_pb2, model_config_pb2

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "compatibility.md"

_CONTROL: Final = "on the whole cluster, with `--model-control-mode explicit` or `on-demand`"
_SHARED: Final = "with `--allow-client-shm=true`"
_NO_CUDA: Final = "refused as UNIMPLEMENTED: a gateway holds no device"

RPCS: Final = {
    "ServerLive": "yes",
    "ServerReady": "yes",
    "ModelReady": "yes",
    "ServerMetadata": "yes",
    "ModelMetadata": "yes",
    "ModelInfer": "yes",
    "ModelStreamInfer": "yes",
    "ModelConfig": "yes",
    "ModelStatistics": (
        "yes, summed over the cluster; `response_stats` of 256 responses; no `memory_usage`"
    ),
    "RepositoryIndex": "yes; `repository_name` is refused, as in Triton",
    "RepositoryModelLoad": f"yes, {_CONTROL}",
    "RepositoryModelUnload": f"yes, {_CONTROL}",
    "SystemSharedMemoryStatus": f"yes, {_SHARED}",
    "SystemSharedMemoryRegister": f"yes, {_SHARED}",
    "SystemSharedMemoryUnregister": f"yes, {_SHARED}",
    "CudaSharedMemoryStatus": "yes: there is no region",
    "CudaSharedMemoryRegister": _NO_CUDA,
    "CudaSharedMemoryUnregister": "yes: there is no region",
    "TraceSetting": "yes, for all gateways; no tensors",
    "LogSettings": "yes, for all gateways",
}
"""RPC -> how it is answered."""

OFFERED: Final = {
    "binary_tensor_data": "yes",
    "classification": "yes, for FP16 and BF16 too",
    "logging": "yes; `log_file` cannot be changed",
    "model_configuration": "yes",
    "model_repository": f"yes, {_CONTROL}",
    "model_repository(unload_dependents)": "yes",
    "parameters": "yes",
    "schedule_policy": "yes: priorities and timeouts",
    "sequence": "yes; the state of a sequence survives its worker",
    "statistics": "yes",
    "system_shared_memory": f"yes, {_SHARED}",
    "trace": "yes, with `--trace-file`; no tensors",
}
"""Extension that ServerMetadata names -> how it works."""

LACKING: Final = {
    "cuda_shared_memory": _NO_CUDA,
}
"""Extensions of Triton's that are not offered."""

_HEAD: Final = """\
# Compatibility with Triton

Written by `tools/compatibility.py` from the code's own tables; a test fails when they differ. What
is refused is refused by its name, with what to do instead; nothing is taken and then ignored. "No
effect" is said of advice to Triton's own machinery, which changes no result there either.
[extensions.md](extensions.md) tells more of the extensions, and
[model-control.md](model-control.md) of loading and unloading.
"""


def page() -> str:
    """The page as it should be."""
    methods = grpc_service_pb2.DESCRIPTOR.services_by_name[SERVICE.rpartition(".")[2]].methods
    offered = sorted({*EXTENSIONS, "system_shared_memory"})
    lines = [_HEAD, "## RPCs", "", "| RPC | answered |", "|---|---|"]
    lines += [f"| `{method.name}` | {RPCS[method.name]} |" for method in methods]
    lines += ["", "## Extensions", "", "| extension | offered |", "|---|---|"]
    lines += [f"| `{name}` | {OFFERED[name]} |" for name in offered]
    lines += [f"| `{name}` | {told} |" for name, told in sorted(LACKING.items())]
    lines += ["", "## config.pbtxt", ""]
    lines += ["A field that is not set, or set to its default, is never refused.", ""]
    lines += ["| field | taken | |", "|---|---|---|"]
    lines += [_row(name, FIELDS[name]) for name in fields()]
    return "\n".join(lines) + "\n"


def fields() -> Iterator[str]:
    """Message and field of all that config.pbtxt can say, but for what is below refused fields."""
    known: list[Any] = [model_config_pb2.ModelConfig.DESCRIPTOR]
    for message in known:  # which grows
        for field in message.fields:
            name = f"{message.full_name.removeprefix('inference.')}.{field.name}"
            yield name
            refused = name in FIELDS and FIELDS[name].support == Support.REFUSED
            below = None if refused else _message_of(field)
            if below is not None and below not in known:
                known.append(below)


def _message_of(field: Any) -> Any:
    """The message that *field* holds, if it holds any; of a map, that of its values."""
    held = field.message_type
    if held is not None and held.GetOptions().map_entry:
        return held.fields_by_name["value"].message_type
    return held


def _row(name: str, field: Field) -> str:
    return f"| `{name}` | {field.support.value} | {field.note} |"


def main() -> None:
    """Write the page; with ``--check`` only compare, and exit 1 when it differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 on drift")
    if not parser.parse_args().check:
        PAGE.write_text(page())
    elif PAGE.read_text() != page():
        sys.exit(f"{PAGE.name} has drifted: run `make docs`")


if __name__ == "__main__":
    main()
