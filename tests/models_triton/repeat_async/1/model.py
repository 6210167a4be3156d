"""The same as a coroutine: several requests are under way at a time."""

import asyncio

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.running = 0

    async def execute(self, requests):
        await asyncio.gather(*(self.answer(request) for request in requests))

    async def answer(self, request):
        self.running += 1
        sender = request.get_response_sender()
        count = int(pb_utils.get_input_tensor_by_name(request, "COUNT").as_numpy()[0])
        if count == 0:
            # Until there is another one.
            while self.running < 2:
                await asyncio.sleep(0.001)
        together = int(self.running > 1)
        for number in range(max(1, count)):
            await asyncio.sleep(0.001)
            tensors = [
                pb_utils.Tensor("NUMBER", np.array([number], np.int32)),
                pb_utils.Tensor("TOGETHER", np.array([together], np.int32)),
            ]
            sender.send(pb_utils.InferenceResponse(tensors))
        self.running -= 1
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
