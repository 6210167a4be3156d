"""What is started here is a program: these tests are of the start itself."""

import pytest
from support.processes.forks import as_programs

ALREADY_THERE = {"test_first_model", "test_reader", "test_readme_over_tls", "test_watched_roles"}
"""Files of what is asked of roles that have started: how these did is no matter there."""


@pytest.fixture(scope="module", autouse=True)
def _programs(request):
    if request.module.__name__.rpartition(".")[2] in ALREADY_THERE:
        yield
        return
    with as_programs():
        yield
