"""Calls several models at once."""

import asyncio

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    async def execute(self, requests):
        return [await self.answer(request) for request in requests]

    async def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()[np.newaxis]
        calls = [self.call("add_sub", x, x * factor) for factor in range(5)]
        *fine, failed = await asyncio.gather(*calls, self.call("no_such_model", x, x))
        sums = [pb_utils.get_output_tensor_by_name(one, "SUM").as_numpy() for one in fine]
        text = failed.error().message().encode()
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("SUMS", np.concatenate(sums)),
                pb_utils.Tensor("FAILED", np.array([text], dtype=np.object_)),
            ]
        )

    def call(self, model, a, b):
        request = pb_utils.InferenceRequest(
            model_name=model,
            requested_output_names=["SUM"],
            inputs=[pb_utils.Tensor("A", a), pb_utils.Tensor("B", b.astype(np.float32))],
        )
        return request.async_exec()
