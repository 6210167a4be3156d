"""docs/compatibility.md says what the code does: every RPC, extension and field has its line."""

import importlib.util
from pathlib import Path

import pytest

from penstock.gateway.fronts.grpc.inference_service import (
    _METHODS,
    _SHARED_MEMORY,
    EXTENSIONS,
    SERVICE,
)
from penstock.models.config.fields import FIELDS, Support
from penstock.protos import grpc_service_pb2

TOOL = Path(__file__).parents[3] / "tools" / "compatibility.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("compatibility", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_tables_say(tool):
    assert tool.PAGE.read_text() == tool.page(), "run `make docs`"


def test_every_field_of_the_configuration_has_a_line_and_every_line_its_field(tool):
    assert set(FIELDS) == set(tool.fields())


def test_every_rpc_has_a_line_and_every_line_its_rpc(tool):
    service = grpc_service_pb2.DESCRIPTOR.services_by_name[SERVICE.rpartition(".")[2]]
    names = {method.name for method in service.methods}

    assert set(tool.RPCS) == names
    assert {*_METHODS, *_SHARED_MEMORY} == names - {"ModelInfer", "ModelStreamInfer"}


def test_every_extension_is_offered_or_not(tool):
    assert set(tool.OFFERED) == {*EXTENSIONS, "system_shared_memory"}
    assert not set(tool.OFFERED) & set(tool.LACKING)


def test_who_is_refused_is_told_what_to_do():
    notes = [line.note for line in FIELDS.values() if line.support != Support.YES]

    assert all(notes)
