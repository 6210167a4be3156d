"""What one gateway is told to log and to trace, all gateways do."""

import asyncio
import contextlib

import pytest
import structlog
from structlog.testing import capture_logs
from support.waiting import until

from penstock.errors import InvalidRequest, StoreUnavailable
from penstock.gateway.operations.live_settings import LiveSettings
from penstock.gateway.operations.tracing import Tracing
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.registry.cluster_settings import ClusterSettings
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.link import Links
from penstock.telemetry import Logging, current_logging, use_logging


@pytest.fixture(autouse=True)
def _own_log():
    """A log of the test's own: its settings are the process's."""
    use_logging(Logging())
    yield
    use_logging(Logging())
    structlog.reset_defaults()


@contextlib.asynccontextmanager
async def gateway(links, file):
    """The settings of a gateway that watches the registry."""
    settings = LiveSettings(ClusterSettings(links), Tracing(file))

    async def watch():
        async for snapshot in Registry(links).watch():
            settings.update(snapshot)

    task = asyncio.create_task(watch())
    try:
        yield settings
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def links(each_redis_url):
    async with Links(each_redis_url) as links:
        yield links


@pytest.fixture
async def two(links, tmp_path):
    async with gateway(links, tmp_path / "a") as one, gateway(links, tmp_path / "b") as other:
        yield one, other


STRANGE = {
    "trace//trace_colour": '["s", "red"]',
    "trace/m/trace_level": '["s", "TENSORS"]',
    "trace/m/trace_rate": '["s", "0"]',
    "log/log_of_a_later_release": '["s", true]',
    "log/log_info": '["s", "yes"]',
    "log/log_format": '["s"]',
    "metrics/interval": '["s", 5]',
    "log/log_error": "no json",
    "log/log_warning": "{}",
    "trace/m/trace_count": "[]",
}


@pytest.mark.parametrize("name", STRANGE)
async def test_a_setting_that_is_not_understood_is_ignored_and_said_once(links, two, name):
    one, other = two
    registry = links.to(RegistryKeys.tag)

    with capture_logs() as written:
        await registry.command("HSET", RegistryKeys.settings, name, STRANGE[name])
        await trace(one, trace_rate="7")
        await trace(other, trace_rate="8")
        await trace(one, trace_rate="9")

    told = [line["setting"] for line in written if "cannot read is ignored" in line["event"]]
    # By each of the two.
    assert told == [name, name]


async def trace(settings, model="", **values):
    """What the trace settings are, after *values* were set; None clears one."""
    request = pb.TraceSettingRequest(model_name=model)
    for name, value in values.items():
        request.settings[name].value.extend([] if value is None else [value])
    answer = await settings.change_trace(request)
    return {name: found.value[0] for name, found in answer.settings.items()}


async def test_another_gateway_traces_too(two):
    one, other = two

    told = await trace(one, "m", trace_level="TIMESTAMPS", trace_rate="7")
    await until(lambda: other._tracing.on)

    assert (told["trace_level"], told["trace_rate"]) == ("TIMESTAMPS", "7")
    assert (await trace(other, "m"))["trace_rate"] == "7"
    assert (await trace(other))["trace_level"] == "OFF"


async def test_the_last_word_counts_wherever_it_was_said(two):
    one, other = two
    for rate in range(1, 6):
        await trace(one, trace_rate=str(rate))
        await trace(other, trace_rate=str(10 * rate))

    assert (await trace(other))["trace_rate"] == "50"
    assert (await trace(one, trace_count="3"))["trace_rate"] == "50"
    assert (await trace(other, trace_rate=None, trace_level=None))["trace_rate"] == "1000"


async def test_a_gateway_that_starts_later_goes_by_them(two, links, tmp_path):
    await trace(two[0], trace_level="TIMESTAMPS")

    async with gateway(links, tmp_path / "c") as third:
        await until(lambda: third._tracing.on)


async def test_setting_a_value_anew_counts_anew(two):
    one, _ = two
    await trace(one, trace_level="TIMESTAMPS", trace_count="1", trace_rate="1")
    assert one._tracing._all.chooses()

    assert (await trace(one))["trace_count"] == "0"
    assert (await trace(one, trace_count="1"))["trace_count"] == "1"


async def test_a_log_is_as_it_was_at_the_start_once_redis_has_forgotten(two, links):
    request = pb.LogSettingsRequest()
    request.settings["log_info"].bool_param = False
    request.settings["log_verbose_level"].uint32_param = 1

    answer = await two[0].change_log(request)
    changed = current_logging()
    await links.to(RegistryKeys.tag).command("FLUSHALL")
    await until(lambda: current_logging() == Logging())

    assert not answer.settings["log_info"].bool_param
    assert answer.settings["log_verbose_level"].uint32_param == 1
    assert changed == Logging(debug=True, info=False)


async def test_what_is_refused_reaches_nobody(two, links):
    with pytest.raises(InvalidRequest, match="trace_rate must be at least 1"):
        await trace(two[0], trace_level="TIMESTAMPS", trace_rate="0")

    assert (await Registry(links).snapshot()).settings == {}


async def test_without_redis_a_change_is_refused(store, tmp_path):
    async with (
        Links(store.url, patience_s=0.2) as links,
        gateway(links, tmp_path / "a") as settings,
    ):
        await trace(settings, trace_rate="2")
        store.kill()

        with pytest.raises(StoreUnavailable):
            await trace(settings, trace_rate="3")

        assert (await trace(settings))["trace_rate"] == "2"
