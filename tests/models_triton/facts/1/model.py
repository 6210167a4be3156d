"""All that a request says of itself."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        facts = {
            "id": request.request_id(),
            "correlation": request.correlation_id(),
            "flags": request.flags(),
            "timeout": request.timeout(),
            "parameters": json.loads(request.parameters() or "{}"),
            "outputs": sorted(request.requested_output_names()),
            "cancelled": request.is_cancelled(),
            "inputs": [[one.name(), list(one.shape()), one.is_cpu()] for one in request.inputs()],
            "absent": pb_utils.get_input_tensor_by_name(request, "Z") is None,
            "flag_constants": [
                pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START,
                pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END,
                pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL,
                pb_utils.TRITONSERVER_REQUEST_RELEASE_ALL,
                pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE,
            ],
        }
        request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_ALL)
        text = np.array([json.dumps(facts, sort_keys=True).encode()], dtype=np.object_)
        tensors = [
            pb_utils.Tensor("FACTS", text),
            pb_utils.Tensor("MORE", np.array([7], np.int32)),
            pb_utils.Tensor("NOBODY_ASKED", np.array([1], np.int32)),
        ]
        return pb_utils.InferenceResponse(output_tensors=tensors)
