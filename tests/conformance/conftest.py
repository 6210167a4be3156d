"""Clusters that only these tests need."""

import pytest
from support.cluster import Cluster
from support.onnx_models import write_add_sub, write_identity_of_all, write_slow


@pytest.fixture(scope="session")
def models_cluster(tmp_path_factory):
    """A cluster that serves an identity of every datatype, add_sub, and slow."""
    repository = tmp_path_factory.mktemp("conformance-models")
    write_identity_of_all(repository, "identity", batch=True)
    write_identity_of_all(repository, "identity_flat", batch=False)
    write_add_sub(repository)
    write_slow(repository)
    one = Cluster(tmp_path_factory.mktemp("conformance-cluster"), repository)
    try:
        yield one.start()
        one.stop()
    finally:
        one.destroy()
