"""KServe's Python server: one process of it, which shares its port with others."""

import asyncio
import sys

import onnx_served as served
from kserve import InferOutput, InferResponse, Model, ModelServer


class Run(Model):
    """Runs one request at a time, or as many as there are cores for."""

    def __init__(self, name, *, at_once):
        super().__init__(name)
        self.session = served.opened()
        self.room = asyncio.Semaphore(at_once) if at_once else None
        self.ready = True

    async def predict(self, payload, *_, **__):
        """The output for the request's only input."""
        rows = payload.inputs[0].as_numpy()
        if self.room is None:
            found = served.run(self.session, rows)
        else:
            async with self.room:
                found = await asyncio.to_thread(served.run, self.session, rows)
        output = InferOutput("output", list(found.shape), "FP32")
        output.set_data_from_numpy(found)
        return InferResponse(payload.id, self.name, [output])


if __name__ == "__main__":
    grpc_port, http_port, computes = sys.argv[1:4]
    sys.argv[1:] = []
    model = Run(served.MODEL, at_once=1 if computes == "True" else 0)
    ModelServer(
        http_port=int(http_port),
        grpc_port=int(grpc_port),
        workers=1,
        enable_latency_logging=False,
    ).start([model])
