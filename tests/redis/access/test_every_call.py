"""Each RPC and each route, with each credential that there may be: who is let in, and who is not.

What a call comes to once it is let in is no matter here: it may ask for what there is not.
"""

import asyncio
import contextlib
import http.client
import json

import grpc
from support.clients.keys import bearer
from support.processes.front import message

from penstock.gateway.access.needs import RPCS, Models, need_of_route
from penstock.gateway.fronts.grpc.inference_service import SERVICE
from penstock.gateway.fronts.http.openapi import templates
from penstock.protos import grpc_service_pb2 as pb

ALL = ("infer", "read", "load", "admin")
LET_IN_S, REFUSED_S = 0.3, 30
"""What is let in may wait for a worker, or for news, for ever; a refusal is waited for."""

INFER = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
).encode()
CONVERSATIONS = {"ModelStreamInfer", "ServerReflectionInfo"}
DENIED, UNKNOWN, IN = "PERMISSION_DENIED", "UNAUTHENTICATED", "in"
STATUSES = {401: UNKNOWN, 403: DENIED}
_OWN_STATUS = ("triton_grpc_error", "true")


def request_of(name):
    """A request of the RPC *name*, for the model `digits`."""
    service, method = name.split("/")
    if service != SERVICE:
        return b""
    if method in ("ModelInfer", "ModelStreamInfer"):
        return message(values=2)
    request = getattr(pb, f"{method}Request")()
    if RPCS[name].field:
        setattr(request, RPCS[name].field, "digits")
    return request.SerializeToString()


async def call(front, name, secret, timeout_s):
    """What becomes of a call: `IN`, or the status that it was refused with."""
    shown = (*bearer(secret), _OWN_STATUS)
    if name.rpartition("/")[2] in CONVERSATIONS:
        return await asyncio.to_thread(converse, front, name, shown, timeout_s)
    method = front.channel.unary_stream(f"/{name}")
    rpc = method(request_of(name), timeout=timeout_s, metadata=shown)
    with contextlib.suppress(grpc.RpcError):
        async for _ in rpc:
            pass
    return told(await rpc.code())


def converse(front, name, shown, timeout_s):
    """The same for a stream of requests.

    With the client for threads: that for asyncio says INTERNAL where its first message meets a
    refusal, and this one what the refusal says.
    """
    with grpc.insecure_channel(front.grpc_address) as channel:
        rpc = channel.stream_stream(f"/{name}")(
            iter([request_of(name)]), timeout=timeout_s, metadata=shown
        )
        with contextlib.suppress(grpc.RpcError):
            for _ in rpc:
                pass
        return told(rpc.code())


def told(status):
    code = status.name
    return code if code in (DENIED, UNKNOWN) else IN


def routes_of(front):
    """Method, path and need of each route, and whether it names a model, which is `digits`."""
    for route in front.last._routes():
        need = need_of_route(route.rpc, route.pattern.pattern)
        for template in templates(route.pattern.pattern):
            path = template.format(
                model="digits", version=1, region="r", repository="models", id="resp_a"
            )
            for method in route.methods:
                yield method, path, need, "digits" in path


def ask(front, method, path, secret, timeout_s):
    connection = http.client.HTTPConnection(front.address, timeout=timeout_s)
    headers = dict(bearer(secret))
    try:
        body = b"" if method == "GET" else INFER if path.endswith("/infer") else b"{}"
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        if answer.status == 401:
            assert answer.getheader("www-authenticate") == "Bearer"
        return STATUSES.get(answer.status, IN)
    except TimeoutError:
        return IN
    finally:
        connection.close()


def expected(need, kind, *, named):
    """*named*: the call is about one model."""
    if need.scope is None:
        return IN
    if kind == "another team's":
        return DENIED if named or need.models is Models.ALL else IN
    return {"right": IN, "other scopes": DENIED}.get(kind, UNKNOWN)


async def secrets_for(guarded):
    """By kind, the secret for a call that needs a scope."""
    secrets = {kind: dict.fromkeys(ALL, one) for kind, one in (await guarded.credentials()).items()}
    make = guarded.keyring.make
    secrets["right"] = {scope: (await make("a", scope))[1] for scope in ALL}
    others = {scope: [one for one in ALL if one != scope] for scope in ALL}
    secrets["other scopes"] = {scope: (await make("a", *others[scope]))[1] for scope in ALL}
    _, another = await make("b", *ALL, models=["other*"])
    secrets["another team's"] = dict.fromkeys(ALL, another)
    await guarded.settled()
    return secrets


async def test_each_rpc_lets_in_whom_the_table_says_and_nobody_else(guarded):
    secrets, wrong = await secrets_for(guarded), {}

    async def try_one(name, kind):
        need = RPCS[name]
        secret = secrets[kind][need.scope or "read"]
        named = bool(need.field) or need.models is Models.NAMED
        right = expected(need, kind, named=named)
        timeout_s = LET_IN_S if right is IN else REFUSED_S
        if (found := await call(guarded.front, name, secret, timeout_s)) != right:
            wrong[name, kind] = found

    await asyncio.gather(*(try_one(name, kind) for name in RPCS for kind in secrets))

    assert wrong == {}


async def test_each_route_lets_in_whom_the_table_says_and_nobody_else(any_guarded):
    secrets, wrong = await secrets_for(any_guarded), {}
    front = any_guarded.front
    routes = list(routes_of(front))
    assert len(routes) > 25

    async def try_one(method, path, need, named, kind):
        secret = secrets[kind][need.scope or "read"]
        right = expected(need, kind, named=named)
        timeout_s = LET_IN_S if right is IN else REFUSED_S
        found = await asyncio.to_thread(ask, front, method, path, secret, timeout_s)
        if found != right:
            wrong[method, path, kind] = found

    for kind in secrets:
        await asyncio.gather(*(try_one(*route, kind) for route in routes))

    assert wrong == {}
