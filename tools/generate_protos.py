"""Generate the committed protobuf stubs, or check that they are what the .proto files say.

The generated modules differ from protoc's own output in two ways:

* they import each other from the package ``penstock.protos``;
* they live in a private descriptor pool, so that a process may also import another copy of
  package ``inference`` (Triton's client ships one) in either order.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent.parent / "protos"
SOURCES = ("model_config.proto", "grpc_service.proto", "cluster.proto", "hops.proto")
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")
SERVICELESS = "model_config_pb2_grpc.py"


def generate(target: Path) -> None:
    """Write the stubs of every source into *target*."""
    arguments = ["protoc", f"-I{PROTOS}"]
    arguments += [f"--{kind}_out={target}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main([*arguments, *SOURCES]) != 0:
        sys.exit("protoc failed: see its message above")
    # It has messages alone: there is nothing to call.
    (target / SERVICELESS).unlink()
    for path in target.glob("*_pb2*"):
        path.write_text(_ours(path.read_text()))


def _ours(text: str) -> str:
    for source in SOURCES:
        module = source.removesuffix(".proto") + "_pb2"
        text = text.replace(f"\nimport {module} as", f"\nfrom penstock.protos import {module} as")
    text = text.replace(
        "from google.protobuf import descriptor_pool as _descriptor_pool\n",
        "from penstock.protos import pool as _descriptor_pool\n",
    )
    return text.replace("_descriptor_pool.Default()", "_descriptor_pool.POOL")


def drifted(target: Path) -> list[str]:
    """Name the committed stubs that differ from those in *target*."""
    names = [source.removesuffix(".proto") + suffix for source in SOURCES for suffix in SUFFIXES]
    names.remove(SERVICELESS)
    return [
        name
        for name in names
        if not (PROTOS / name).exists()
        or (PROTOS / name).read_text() != (target / name).read_text()
    ]


def main() -> None:
    """Write the stubs; with ``--check`` only compare, and exit 1 when they differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 on drift")
    if not parser.parse_args().check:
        generate(PROTOS)
        return
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        stale = drifted(Path(scratch))
    if stale:
        sys.exit(f"stubs are older than their .proto files: {', '.join(stale)}; run 'make protos'")


if __name__ == "__main__":
    main()
