"""Two numbers in, their sum and difference out; it writes into what it is given."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            a = pb_utils.get_input_tensor_by_name(request, "A").as_numpy()
            b = pb_utils.get_input_tensor_by_name(request, "B").as_numpy()
            diff = a - b
            a += b
            tensors = [pb_utils.Tensor("SUM", a), pb_utils.Tensor("DIFF", diff)]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
        return responses
