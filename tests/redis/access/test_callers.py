"""What callers see of models that are not theirs, and how soon a key's end is known."""

import contextlib

import grpc
from support.clients.keys import bearer
from support.processes.front import message
from support.waiting import until

from penstock.gateway.fronts.grpc.inference_service import SERVICE
from penstock.protos import grpc_service_pb2 as pb


async def ask(guarded, name, request, secret):
    """The response."""
    method = guarded.front.channel.unary_unary(
        f"/{SERVICE}/{name}", response_deserializer=getattr(pb, f"{name}Response").FromString
    )
    return await method(request.SerializeToString(), metadata=bearer(secret), timeout=10)


async def status(guarded, name, request, secret):
    try:
        await ask(guarded, name, request, secret)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def test_lists_hold_the_callers_models_alone(any_guarded):
    _, theirs = await any_guarded.keyring.make("a", "read", models=["dig*"])
    _, others = await any_guarded.keyring.make("b", "read", models=["other"])
    await any_guarded.settled()
    index, counts = pb.RepositoryIndexRequest(), pb.ModelStatisticsRequest()

    async def names(secret):
        models = (await ask(any_guarded, "RepositoryIndex", index, secret)).models
        stats = (await ask(any_guarded, "ModelStatistics", counts, secret)).model_stats
        return [one.name for one in models], [one.name for one in stats]

    assert await names(theirs) == (["digits"], ["digits"])
    assert await names(others) == ([], [])


async def test_nobody_learns_whether_there_is_a_model_that_is_not_theirs(any_guarded):
    _, secret = await any_guarded.keyring.make("a", "read", models=["mine"])
    await any_guarded.settled()

    found = {
        model: await status(any_guarded, name, request(name=model), secret)
        for name, request in (
            ("ModelMetadata", pb.ModelMetadataRequest),
            ("ModelConfig", pb.ModelConfigRequest),
            ("ModelReady", pb.ModelReadyRequest),
        )
        for model in ("digits", "nothing")
    }

    assert set(found.values()) == {"PERMISSION_DENIED"}


async def test_a_revoked_key_is_refused_by_each_gateway_soon(guarded):
    id_, secret = await guarded.keyring.make("a", "read")
    await guarded.settled()
    request = pb.ServerMetadataRequest()
    assert await status(guarded, "ServerMetadata", request, secret) == "OK"

    await guarded.keyring.revoke(id_)

    async def refused():
        return await status(guarded, "ServerMetadata", request, secret) == "UNAUTHENTICATED"

    await until(refused)


async def test_an_open_stream_ends_with_its_key(guarded):
    id_, secret = await guarded.keyring.make("a", "infer")
    await guarded.settled()
    stream = guarded.front.stream(metadata=bearer(secret), timeout=30)
    await stream.write(message(values=2, model="nothing"))
    assert b"unknown model" in await stream.read()

    await guarded.keyring.revoke(id_)
    await guarded.settled()
    await stream.write(message(values=2))

    with contextlib.suppress(grpc.RpcError):
        await stream.read()
    assert await stream.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_rotation_fails_no_request(guarded):
    id_, secret = await guarded.keyring.make("a", "read")
    await guarded.settled()
    after = await guarded.keyring.rotate(id_)
    await guarded.settled()

    request = pb.ServerMetadataRequest()
    found = {await status(guarded, "ServerMetadata", request, one) for one in (secret, after)}

    assert found == {"OK"}


async def test_what_is_refused_is_counted(any_guarded):
    request = pb.ServerMetadataRequest()
    await status(any_guarded, "ServerMetadata", request, None)

    assert any_guarded.front.gateway.authenticator.refused == 1


async def test_the_requests_of_one_team_share_a_reply_and_those_of_another_do_not(any_guarded):
    make = any_guarded.keyring.make
    secrets = [(await make(team, "infer"))[1] for team in ("a", "a", "b")]
    await any_guarded.settled()
    key = ("idempotency-key", "same")
    front, found = any_guarded.front, []
    asked = [front.infer(message(values=2), metadata=(*bearer(one), key)) for one in secrets]

    async def all_answered():
        for lease in (await front.probe.claim(rows=8)).leases:
            found.append(lease)
            await front.probe.settle(lease)
        return all(call.done() for call in asked)

    await until(all_answered)

    assert {lease.gateway for lease in found} == {"~key//a/digits/same", "~key//b/digits/same"}
    assert {(await call.code()).name for call in asked} == {"OK"}


async def test_teams_have_sequences_of_their_own(stateful):
    make = stateful.keyring.make
    secrets = [(await make(team, "infer"))[1] for team in ("a", "b")]
    await stateful.settled()
    first = pb.ModelInferRequest.FromString(message(values=2))
    first.parameters["sequence_id"].int64_param = 7
    first.parameters["sequence_start"].bool_param = True
    front, found = stateful.front, []
    asked = [front.infer(first.SerializeToString(), metadata=bearer(secret)) for secret in secrets]

    async def both_run():
        found.extend((await front.probe.claim(rows=1)).leases)
        return len(found) == 2

    await until(both_run)

    names = {(await front.probe.record(lease.id))["sequence"] for lease in found}
    assert names == {"digits:1/I7@a", "digits:1/I7@b"}
    for call in asked:
        call.cancel()


async def test_anothers_model_is_refused_before_a_request_like_it_was_seen_and_after(any_guarded):
    make, front = any_guarded.keyring.make, any_guarded.front
    _, owner = await make("a", "infer", models=["digits"])
    _, other = await make("b", "infer", models=["other"])
    await any_guarded.settled()

    async def code_for(secret):
        call = front.infer(message(values=2), metadata=bearer(secret), timeout=30)
        return (await call.code()).name

    refused = [await code_for(other)]
    asked = front.infer(message(values=2), metadata=bearer(owner), timeout=30)

    async def answered():
        for lease in (await front.probe.claim(rows=1)).leases:
            await front.probe.settle(lease)
        return asked.done()

    await until(answered)
    refused.append(await code_for(other))

    assert (await asked.code()).name == "OK"
    assert refused == ["PERMISSION_DENIED"] * 2
