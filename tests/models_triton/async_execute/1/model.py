"""A coroutine as `execute`: it is run to its end."""

import asyncio

import triton_python_backend_utils as pb_utils


async def doubled(array):
    await asyncio.sleep(0.001)
    if (array < 0).any():
        raise ValueError("below zero")
    return array * 2


class TritonPythonModel:
    async def execute(self, requests):
        arrays = [pb_utils.get_input_tensor_by_name(one, "X").as_numpy() for one in requests]
        results = await asyncio.gather(*(doubled(array) for array in arrays))
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", one)]) for one in results]
