"""Requests that share replies, on a real store."""

import pytest
from support.clients.sharers import Sharers


@pytest.fixture
def sharers(probe):
    return Sharers(probe)
