"""What is started here is a program: these tests are of the start itself."""

import pytest
from support.processes.forks import as_programs


@pytest.fixture(scope="module", autouse=True)
def _programs():
    with as_programs():
        yield
