"""Keys over a gateway: whoever has the scope admin makes, lists, rotates and revokes them."""

import asyncio
import json
from functools import partial

import grpc
import pytest
from support.clients.keys import bearer
from support.processes.commands import spawn
from support.processes.front import serving
from support.waiting import until

from penstock.gateway.access.api_key import id_in
from penstock.protos import cluster_pb2 as pb
from penstock.protos import grpc_service_pb2
from penstock.protos.cluster_pb2_grpc import ClusterStub
from penstock.protos.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from penstock.scheduler.registry.audit import AuditLog


async def made_admin(guarded):
    """An administrator's key: its id, and its secret."""
    made = await guarded.keyring.make("ops", "admin")
    await guarded.settled()
    return made


@pytest.fixture
async def admin(guarded):
    return await made_admin(guarded)


def command(guarded, secret):
    """Runs ``penstock keys`` with this secret, in a process of its own."""
    environment = {"PENSTOCK_TOKEN": secret, "PENSTOCK_URL": guarded.front.grpc_address}
    return partial(asyncio.to_thread, spawn, "keys", environment=environment)


async def code_of(guarded, secret):
    """What becomes of a call with this *secret*."""
    stub = GRPCInferenceServiceStub(guarded.front.channel)
    call = stub.ServerMetadata(grpc_service_pb2.ServerMetadataRequest(), metadata=bearer(secret))
    return (await call.code()).name


async def test_commands_do_over_a_gateway_what_they_do_in_the_store(any_guarded):
    guarded = any_guarded
    keys = command(guarded, (await made_admin(guarded))[1])

    made = await keys("create", "vision", "--model", "ocr-*", "--expires", "90d")
    first = made.stdout.strip()
    rotated = await keys("rotate", id_in(first), "--grace", "0s")
    second = rotated.stdout.strip()
    await guarded.settled()
    codes = [await code_of(guarded, secret) for secret in (first, second)]
    listed = json.loads((await keys("ls", "--json")).stdout)
    revoked = [(await keys("revoke", id_in(first))).stdout for _ in range(2)]
    await guarded.settled()

    assert codes == ["UNAUTHENTICATED", "OK"]
    assert id_in(first) == id_in(second)
    (one,) = [key for key in listed if key["team"] == "vision"]
    assert (one["scopes"], one["models"]) == (["infer", "read"], ["ocr-*"])
    assert one["expires_ms"] - one["created_ms"] == 90 * 86_400_000
    assert [line.rpartition(" of vision ")[2] for line in revoked] == [
        "is revoked.\n",
        "was revoked before.\n",
    ]
    assert await code_of(guarded, second) == "UNAUTHENTICATED"


async def test_what_was_done_is_in_the_audit_log_with_whoever_did_it(guarded, admin):
    stub, shown = ClusterStub(guarded.front.channel), bearer(admin[1])

    made = await stub.CreateKey(pb.CreateKeyRequest(team="vision"), metadata=shown)
    with pytest.raises(grpc.aio.AioRpcError, match="there is no key aaaaaaaaaa here"):
        await stub.RotateKey(pb.RotateKeyRequest(id="aaaaaaaaaa"), metadata=shown)

    async def written():
        entries = await AuditLog(guarded.front.probe.links).latest(10)
        return entries if len(entries) >= 2 else None

    entries = await until(written)
    assert {(one.who, one.act, one.object, one.result) for one in entries} == {
        (f"ops/{admin[0]}", "key.created", f"vision/{made.key.id}", "OK"),
        (f"ops/{admin[0]}", "key.rotated", "aaaaaaaaaa", "INVALID_ARGUMENT"),
    }


async def test_hashes_stay_where_they_are_and_a_secret_in_an_ids_place_is_repeated_to_nobody(
    guarded, admin
):
    stub, shown = ClusterStub(guarded.front.channel), bearer(admin[1])

    listed = await stub.ListKeys(pb.ListKeysRequest(), metadata=shown)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.RevokeKey(pb.RevokeKeyRequest(id=admin[1]), metadata=shown)

    assert [secret.created_ms > 0 for key in listed.keys for secret in key.secrets] == [True]
    assert not any(secret.sha256 for key in listed.keys for secret in key.secrets)
    assert "rotate it" in refused.value.details()
    entries = await AuditLog(guarded.front.probe.links).latest(10)
    assert admin[1] not in refused.value.details() + repr(entries)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"team": "a team"}, "cannot be a team's name"),
        ({"team": "t", "scopes": ["fly"]}, "choose among infer, read, load, admin"),
        ({"team": "t", "ttl_ms": -1}, "1 ms to a hundred years"),
        ({"team": "t", "without_secret": True}, "or the name of a certificate"),
    ],
)
async def test_what_cannot_be_is_refused_with_what_to_do(guarded, admin, words, said):
    stub = ClusterStub(guarded.front.channel)

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.CreateKey(pb.CreateKeyRequest(**words), metadata=bearer(admin[1]))

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert said in refused.value.details()


@pytest.mark.parametrize("auth", ["auto", "none"])
async def test_nobody_makes_the_first_key_over_a_gateway(redis_url, auth):
    async with serving(redis_url, values=2, auth=auth) as front:
        stub = ClusterStub(front.channel)
        for call in (
            stub.CreateKey(pb.CreateKeyRequest(team="mine", scopes=["admin"])),
            stub.ListKeys(pb.ListKeysRequest()),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert "the first one is made in the store itself" in refused.value.details()
