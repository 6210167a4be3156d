"""Clusters that only these tests need."""

import pytest
from support.cluster import Cluster
from support.onnx_models import (
    DATATYPES,
    write_add_sub,
    write_identities,
    write_identity,
    write_slow,
)


@pytest.fixture(scope="session")
def models_cluster(tmp_path_factory):
    """A cluster that serves an identity of every datatype, add_sub, and slow."""
    repository = tmp_path_factory.mktemp("conformance-models")
    # ONNX Runtime's Python API cannot take text and bfloat16 in one call.
    without_text = [datatype for datatype in DATATYPES if datatype != "BYTES"]
    write_identities(repository, "identity", without_text, batch=True)
    write_identities(repository, "identity_flat", without_text, batch=False)
    write_identity(repository, "identity_text", "BYTES", batch=True)
    write_add_sub(repository)
    write_slow(repository)
    one = Cluster(tmp_path_factory.mktemp("conformance-cluster"), repository)
    try:
        yield one.start()
        one.stop()
    finally:
        one.destroy()
