"""Parameters that go with a response."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        (request,) = requests
        what = pb_utils.get_input_tensor_by_name(request, "WHAT").as_numpy()[0].decode()
        given = {
            "some": {"word": "w", "number": 3, "yes": True, "no": False},
            "none": None,
            "empty": {},
            "a list": {"numbers": [1]},
            "a number as key": {1: "one"},
        }[what]
        try:
            response = pb_utils.InferenceResponse([], parameters=given)
            text = response.parameters()
        except pb_utils.TritonModelException as error:
            text, given = str(error), None
        array = np.array([text.encode()], dtype=np.object_)
        tensor = pb_utils.Tensor("TEXT", array)
        return [pb_utils.InferenceResponse([tensor], parameters=given)]
