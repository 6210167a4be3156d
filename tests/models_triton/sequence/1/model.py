"""Adds up the numbers of each sequence."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.totals = {}

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        read = pb_utils.get_input_tensor_by_name
        x = read(request, "X").as_numpy()[0, 0]
        start = int(read(request, "START").as_numpy().reshape(-1)[0])
        corrid = int(read(request, "CORRID").as_numpy().reshape(-1)[0])
        total = self.totals[corrid] = (0 if start else self.totals[corrid]) + int(x)
        if request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END:
            del self.totals[corrid]
        seen = [start, corrid, request.flags(), request.correlation_id()]
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("TOTAL", np.array([[total]], np.int32)),
                pb_utils.Tensor("SEEN", np.array([seen], np.int64)),
            ]
        )
