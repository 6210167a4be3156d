"""The table of what calls need holds each RPC and each route, and nothing else."""

import asyncio
from types import SimpleNamespace

import pytest

from penstock.gateway.access.authenticator import Authenticator
from penstock.gateway.access.caller import Scope
from penstock.gateway.access.needs import INFERENCE, ROUTES, RPCS, Models, need_of_route
from penstock.gateway.fronts.grpc.access import guarded
from penstock.gateway.fronts.grpc.inference_service import SERVICE
from penstock.gateway.fronts.grpc.methods import names
from penstock.gateway.fronts.grpc.rpc import Method
from penstock.gateway.fronts.http.front import HttpFront
from penstock.gateway.requests.call import Call
from penstock.protos import grpc_service_pb2 as pb
from penstock.settings import GatewaySettings

METHODS = {
    method.name: method for method in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
}
OPEN = {
    *(f"{SERVICE}/ServerLive", f"{SERVICE}/ServerReady"),
    *("grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch"),
}


def routes():
    async def read():
        return b""

    settings = GatewaySettings(redis="unix:///none")
    service = SimpleNamespace(shared_memory=None)
    front = HttpFront(service, None, None, settings, asyncio.Event(), Authenticator("keys"))
    front.with_metrics(read)
    return front._routes()


def test_each_rpc_that_is_offered_has_its_line():
    assert set(RPCS) == set(names())


def test_health_alone_is_open():
    assert {name for name, need in RPCS.items() if need.scope is None} == OPEN
    assert {name for name, need in ROUTES.items() if need.scope is None} == {
        *("/livez", "/readyz", "/openapi.json")
    }


@pytest.mark.parametrize("name", METHODS)
def test_the_field_that_names_the_model_is_one_of_the_request(name):
    need, method = INFERENCE[name], METHODS[name]

    if need.models is Models.NAMED and name not in ("ModelInfer", "ModelStreamInfer"):
        assert need.field
    if need.field:
        assert need.field in method.input_type.fields_by_name
    if need.listed:
        assert "name" in method.output_type.fields_by_name[need.listed].message_type.fields_by_name


@pytest.mark.parametrize("name", METHODS)
def test_a_request_that_names_a_model_is_looked_at(name):
    """Or its caller may use all models."""
    fields = METHODS[name].input_type.fields_by_name
    model = {"name", "model_name"} & set(fields) if "Memory" not in name else set()

    if model and INFERENCE[name].scope is not None:
        assert INFERENCE[name].models is not Models.NONE


def test_what_changes_something_for_everybody_is_the_administrators():
    everybodys = [n for n in METHODS if "Memory" in n or "Setting" in n]

    assert {INFERENCE[name].scope for name in everybodys} == {Scope.ADMIN}
    assert {RPCS[name].scope for name in RPCS if "DeadLetter" in name} == {Scope.ADMIN}


def test_each_route_has_its_line():
    missing = [
        r.pattern.pattern for r in routes() if need_of_route(r.rpc, r.pattern.pattern) is None
    ]

    assert missing == []


def test_each_line_of_a_route_has_its_route():
    own = {route.pattern.pattern for route in routes() if not route.rpc}

    assert set(ROUTES) == own


async def test_a_method_without_a_line_is_refused_whoever_calls():
    failed = []

    async def handle(_):
        failed.append("reached")

    method = guarded({"/new.Service/Method": Method(handle)}, Authenticator("none"), {})
    rpc = SimpleNamespace(call=Call(), fail=lambda *status: failed.append(status))
    await method["/new.Service/Method"].handle(rpc)

    assert [status for status, *_ in failed] == [7]
