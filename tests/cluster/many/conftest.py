"""What is started here is a program: its own templates are what these tests look at."""

import pytest
from support.processes.forks import as_programs


@pytest.fixture(scope="module", autouse=True)
def _programs():
    with as_programs():
        yield
