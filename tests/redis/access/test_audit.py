"""The audit log: who did what as an administrator, and that nobody has changed it."""

import asyncio

import pytest
from support.clients.keys import bearer
from support.processes.commands import invoke

from penstock.gateway.access.caller import Caller
from penstock.gateway.fronts.grpc.inference_service import SERVICE
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.registry.audit import AuditLog, broken
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.link import Links


@pytest.fixture
async def links(each_redis_url):
    async with Links(each_redis_url) as links:
        yield links


async def test_entries_follow_each_other(links):
    audit = AuditLog(links)
    first = await audit.append("a/k", "RepositoryModelLoad", "digits")
    second = await audit.append("a/k", "LogSettings", "log_info", "INVALID_ARGUMENT")

    assert (first.before, second.before) == ("", first.hash)
    assert await audit.latest(10) == [second, first]
    assert broken([first, second]) is None


async def test_many_who_write_at_once_all_find_their_place(links):
    audit = AuditLog(links)
    await asyncio.gather(*(audit.append("a/k", "act", str(number)) for number in range(8)))

    entries = (await audit.latest(100))[::-1]

    assert {entry.object for entry in entries} == set(map(str, range(8)))
    assert broken(entries) is None


@pytest.mark.parametrize("change", ["who", "act", "object", "result", "at_ms", "before"])
async def test_whatever_is_changed_is_noticed(links, change):
    audit = AuditLog(links)
    entries = [await audit.append("a/k", "act", str(number)) for number in range(3)]

    entries[1] = entries[1]._replace(**{change: 1 if change == "at_ms" else "x"})

    assert broken(entries) is entries[1]


async def test_what_is_left_out_is_noticed(links):
    audit = AuditLog(links)
    first, _, third = [await audit.append("a/k", "act", str(number)) for number in range(3)]

    assert broken([first, third]) is third


async def change(guarded, name, request, secret):
    """The code of a call."""
    method = guarded.front.channel.unary_unary(f"/{SERVICE}/{name}")
    call = method(request.SerializeToString(), metadata=bearer(secret), timeout=10)
    return (await call.code()).name


async def test_acts_are_written_down_with_their_results_and_questions_are_not(any_guarded):
    key, secret = await any_guarded.keyring.make("ops", "load", "admin")
    await any_guarded.settled()
    settings = pb.LogSettingsRequest()
    await change(any_guarded, "LogSettings", settings, secret)
    settings.settings["log_verbose_level"].uint32_param = 1
    codes = [
        await change(any_guarded, "LogSettings", settings, secret),
        await change(
            any_guarded,
            "RepositoryModelUnload",
            pb.RepositoryModelUnloadRequest(model_name="digits"),
            secret,
        ),
    ]

    entries = (await AuditLog(any_guarded.front.probe.links).latest(10))[::-1]

    assert [(one.act, one.object) for one in entries] == [
        ("LogSettings", "log_verbose_level"),
        ("RepositoryModelUnload", "digits"),
    ]
    assert [one.result for one in entries] == codes
    assert {one.who for one in entries} == {f"ops/{key}"}


async def test_an_act_that_its_caller_gave_up_is_written_down(any_guarded):
    gone = asyncio.Event()

    async def slow():
        gone.set()
        await asyncio.Event().wait()

    auditing = any_guarded.front.gateway.administration.auditing
    task = asyncio.create_task(auditing.noted(Caller("a", "k"), "", ("act", "x"), slow()))
    await gone.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    (entry,) = await AuditLog(any_guarded.front.probe.links).latest(10)
    assert entry.result == "CANCELLED"


def test_the_command_shows_it_and_says_when_it_was_changed(redis_url, monkeypatch):
    monkeypatch.setenv("PENSTOCK_REDIS", redis_url)
    assert "Nothing" in invoke("audit").output
    id_ = invoke("keys", "create", "vision").stdout.split("_")[1]
    invoke("keys", "revoke", id_)

    shown = invoke("audit")
    assert shown.exit_code == 0
    assert f"vision/{id_}" in shown.output
    assert "key.revoked" in shown.output

    asyncio.run(forge(redis_url))
    wrong = invoke("audit")
    assert wrong.exit_code == 1
    assert "is not as it was written" in wrong.output


async def forge(url):
    async with Links(url) as links:
        link = links.to(RegistryKeys.tag)
        words = ("at_ms", 1, "who", "x", "act", "y", "object", "z", "result", "OK")
        await link.command("XADD", RegistryKeys.audit, "*", "before", "b", "hash", "h", *words)
