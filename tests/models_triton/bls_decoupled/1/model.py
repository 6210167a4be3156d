"""Calls a decoupled model, and one that is not, for any number of responses."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        count = pb_utils.get_input_tensor_by_name(request, "COUNT")
        numbers, empty, errors = [], 0, []
        for response in self.call("repeat", [count], ["NUMBER"]):
            if response.has_error():
                errors.append(response.error().message())
            elif response.output_tensors():
                numbers.append(response.output_tensors()[0].as_numpy()[0])
            else:
                empty += 1
        a = pb_utils.Tensor("A", np.ones((1, 4), np.float32))
        b = pb_utils.Tensor("B", np.ones((1, 4), np.float32))
        sums = [
            one.output_tensors()[0].as_numpy().tolist()
            for one in self.call("add_sub", [a, b], ["SUM"])
            if one.output_tensors()
        ]
        text = json.dumps({"empty": empty, "errors": errors, "sums": sums})
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("NUMBERS", np.array(numbers, np.int32)),
                pb_utils.Tensor("TEXT", np.array([text.encode()], dtype=np.object_)),
            ]
        )

    def call(self, model, inputs, outputs):
        request = pb_utils.InferenceRequest(
            model_name=model, requested_output_names=outputs, inputs=inputs
        )
        return request.exec(decoupled=True)
