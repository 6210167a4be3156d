"""Each datatype, there and back, and their numbers."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        tensors, numbers = [], []
        for given in request.inputs():
            array = given.as_numpy()
            number = pb_utils.numpy_to_triton_type(array.dtype.type)
            numbers.append(number)
            assert np.dtype(pb_utils.triton_to_numpy_type(number)) == array.dtype
            tensors.append(pb_utils.Tensor("OUT_" + given.name(), array))
        tensors.append(pb_utils.Tensor("NUMBERS", np.array(sorted(numbers), np.int32)))
        return pb_utils.InferenceResponse(tensors)
