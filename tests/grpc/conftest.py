"""What tests of encrypted connections share."""

import pytest
from support.authority import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority):
    """Files of a server's certificate, and of its key."""
    return authority.server()
