"""Which gRPC server the clusters have that are started here."""

import pytest
from support.processes.fronts import started_here


@pytest.fixture(scope="module", autouse=True)
def grpc_front(request):
    """What speaks gRPC in the clusters that only this file starts."""
    with started_here(request.node.nodeid):
        yield
