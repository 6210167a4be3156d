"""The last step of a chain: each letter with a mark; it refuses one of them."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        letter = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()[0]
        if letter == b"?":
            error = pb_utils.TritonError("no question marks", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=error)
        array = np.array([letter + b"!"], dtype=np.object_)
        return pb_utils.InferenceResponse([pb_utils.Tensor("Y", array)])
