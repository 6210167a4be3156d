"""Every method of Triton's Python clients, waiting and asyncio, is one RPC that works."""

import asyncio
import contextlib
import inspect
import queue
import uuid

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
import tritonclient.utils.shared_memory as shm
from support.models.onnx_models import write_add_sub
from support.processes.fronts import FRONTS, serving_both
from tritonclient.utils import InferenceServerException

NUMBERS = np.arange(16, dtype=np.int32).reshape(1, 16)
NO_RPC = {"close", "plugin", "register_plugin", "unregister_plugin"}


def addends():
    made = []
    for name in ("INPUT0", "INPUT1"):
        one = triton.InferInput(name, [1, 16], "INT32")
        one.set_data_from_numpy(NUMBERS)
        made.append(one)
    return made


def is_right(result):
    return bool((result.as_numpy("OUTPUT0") == 2 * NUMBERS).all())


class Case:
    """How a method is called, and what holds for what it returns, or holds afterwards.

    A method that both clients have is called through `call`; it may be a coroutine's.
    """

    def __init__(self, client, call):
        self._client = client
        self._call = call

    async def __call__(self, name, *args, **kwargs):
        return await self._call(getattr(self._client, name), *args, **kwargs)

    # the server

    async def is_server_live(self):
        return await self("is_server_live")

    async def is_server_ready(self):
        return await self("is_server_ready")

    async def get_server_metadata(self):
        return (await self("get_server_metadata")).name == "triton"

    async def get_log_settings(self):
        return "log_info" in (await self("get_log_settings")).settings

    async def update_log_settings(self):
        told = await self("update_log_settings", {"log_verbose_level": 1})
        await self("update_log_settings", {"log_verbose_level": 0})
        return told.settings["log_verbose_level"].uint32_param == 1

    async def get_trace_settings(self):
        return list((await self("get_trace_settings")).settings["trace_level"].value) == ["OFF"]

    async def update_trace_settings(self):
        told = await self("update_trace_settings", settings={"trace_rate": "7"})
        await self("update_trace_settings", settings={"trace_rate": None})
        return list(told.settings["trace_rate"].value) == ["7"]

    # models

    async def is_model_ready(self):
        there, absent = await self("is_model_ready", "add_sub"), await self("is_model_ready", "no")
        return there and not absent

    async def get_model_metadata(self):
        return (await self("get_model_metadata", "add_sub")).name == "add_sub"

    async def get_model_config(self):
        return (await self("get_model_config", "add_sub")).config.max_batch_size == 8

    async def get_inference_statistics(self):
        before, _ = await self._counted(), await self("infer", "add_sub", addends())
        return await self._counted() == before + 1

    async def _counted(self):
        (told,) = (await self("get_inference_statistics", "add_sub")).model_stats
        return told.inference_stats.success.count

    async def get_model_repository_index(self):
        models = (await self("get_model_repository_index")).models
        return sorted(one.name for one in models) == ["add_sub", "spare"]

    async def load_model(self):
        await self("load_model", "spare")
        return await self("is_model_ready", "spare")

    async def unload_model(self):
        await self("load_model", "spare")
        await self("unload_model", "spare")
        return not await self("is_model_ready", "spare")

    # inference

    async def infer(self):
        return is_right(await self("infer", "add_sub", addends()))

    async def async_infer(self):
        answers = queue.Queue()
        self._client.async_infer(
            "add_sub", addends(), lambda result, error: answers.put((result, error))
        )
        result, error = answers.get(timeout=20)
        return error is None and is_right(result)

    async def start_stream(self):
        answers = queue.Queue()
        self._client.start_stream(lambda result, error: answers.put((result, error)))
        self._client.async_stream_infer("add_sub", addends())
        result, error = answers.get(timeout=20)
        self._client.stop_stream()
        return error is None and is_right(result)

    async_stream_infer = stop_stream = start_stream

    async def stream_infer(self):
        async def asked():
            yield {"model_name": "add_sub", "inputs": addends()}

        answers = [one async for one in self._client.stream_infer(asked())]
        ((result, error),) = answers
        return error is None and is_right(result)

    # shared memory

    async def register_system_shared_memory(self):
        return await self._with_region("r") == ["r"]

    get_system_shared_memory_status = register_system_shared_memory

    async def unregister_system_shared_memory(self):
        await self._with_region("r")
        return not (await self("get_system_shared_memory_status")).regions

    async def _with_region(self, name):
        key = f"/test-{uuid.uuid4().hex}"
        handle = shm.create_shared_memory_region(name, key, 64)
        try:
            await self("register_system_shared_memory", name, key, 64)
            found = (await self("get_system_shared_memory_status")).regions
            await self("unregister_system_shared_memory", name)
        finally:
            shm.destroy_shared_memory_region(handle)
        return list(found)

    async def get_cuda_shared_memory_status(self):
        return not (await self("get_cuda_shared_memory_status")).regions

    async def unregister_cuda_shared_memory(self):
        return await self("unregister_cuda_shared_memory") is None

    async def register_cuda_shared_memory(self):
        """The one that Penstock refuses: a gateway holds no device."""
        with pytest.raises(InferenceServerException) as caught:
            await self("register_cuda_shared_memory", "r", b"aGFuZGxl", 0, 1)
        return caught.value.status() == "StatusCode.UNIMPLEMENTED"


@pytest.fixture(scope="module", params=FRONTS)
def running(request, both):
    return both[request.param]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    models = tmp_path_factory.mktemp("call-models")
    write_add_sub(models)
    write_add_sub(models, "spare")
    folder = tmp_path_factory.mktemp("call-cluster")
    options = ("--model-control-mode", "explicit", "--load-model", "add_sub")
    environment = {
        "PENSTOCK_ALLOW_CLIENT_SHM": "true",
        "PENSTOCK_TRACE_FILE": str(folder / "traces"),
    }
    with serving_both(folder, models, *options, environment=environment) as found:
        yield found


def methods(kind):
    found = inspect.getmembers(kind, inspect.isfunction)
    return sorted({name for name, _ in found if not name.startswith("_")} - NO_RPC)


def test_there_is_a_case_for_every_method_of_both_clients():
    both = {*methods(triton.InferenceServerClient), *methods(triton_aio.InferenceServerClient)}

    assert both == set(methods(Case))


@pytest.mark.parametrize("method", methods(triton.InferenceServerClient))
async def test_the_waiting_client(running, method):
    async def call(function, *args, **kwargs):
        return await asyncio.to_thread(function, *args, **kwargs)

    with contextlib.closing(triton.InferenceServerClient(running.url)) as client:
        assert await getattr(Case(client, call), method)()


@pytest.mark.parametrize("method", methods(triton_aio.InferenceServerClient))
async def test_the_asyncio_client(running, method):
    async def call(function, *args, **kwargs):
        return await function(*args, **kwargs)

    async with triton_aio.InferenceServerClient(running.url) as client:
        assert await getattr(Case(client, call), method)()
