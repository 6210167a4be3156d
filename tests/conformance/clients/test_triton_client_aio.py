"""Triton's client for asyncio, unmodified."""

import asyncio

import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.both_fronts


@pytest.fixture
async def client(digits_cluster):
    async with triton.InferenceServerClient(digits_cluster.url) as client:
        yield client


def image(rows=1):
    one = triton.InferInput("image", [rows, 1, 8, 8], "FP32")
    one.set_data_from_numpy(np.zeros((rows, 1, 8, 8), np.float32))
    return one


async def test_the_server_says_what_it_is(client):
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("digits", "2")
    assert (await client.get_server_metadata()).name == "triton"
    assert (await client.get_model_metadata("digits")).inputs[0].name == "image"
    assert (await client.get_model_config("digits", as_json=True))["config"]["name"] == "digits"
    assert len((await client.get_model_repository_index()).models) == 4


async def test_many_requests_at_once_get_their_own_answers(client):
    results = await asyncio.gather(
        *(
            client.infer("digits", [image(rows)], model_version=version, request_id=str(rows))
            for version in "1234"
            for rows in (1, 2, 3)
        )
    )

    for result in results:
        rows = int(result.get_response().id)
        assert result.as_numpy("probabilities").shape == (rows, 10)


async def test_statistics_are_there_for_all_versions(client):
    await client.infer("digits", [image()], model_version="2")

    stats = (await client.get_inference_statistics("digits")).model_stats

    assert {one.version for one in stats} == {"1", "2", "3", "4"}
    assert next(one for one in stats if one.version == "2").inference_stats.success.count > 0


async def test_a_refusal_has_tritons_code_and_text(client):
    with pytest.raises(InferenceServerException, match="unknown model: 'nothing'") as caught:
        await client.infer("nothing", [image()])

    assert caught.value.status() == "StatusCode.NOT_FOUND"


async def test_a_cancelled_task_harms_nobody(client):
    gone = asyncio.create_task(client.infer("digits", [image()]))
    await asyncio.sleep(0)
    gone.cancel()

    result = await client.infer("digits", [image()])

    assert result.as_numpy("digit").shape == (1, 1)
