"""Triton's Python backend: the wheel has no backend for ONNX, so its model runs it."""

import json

import numpy as np
import onnx_served as served
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Runs the requests of a batch together."""

    def initialize(self, args):
        """Open the session."""
        given = json.loads(args["model_config"])["parameters"]
        threads = int(given["threads"]["string_value"])
        self.session = served.opened(given["artifact"]["string_value"], threads)

    def execute(self, requests):
        """A response for each request."""
        rows = [pb_utils.get_input_tensor_by_name(one, "input").as_numpy() for one in requests]
        found = served.run(self.session, np.concatenate(rows) if len(rows) > 1 else rows[0])
        responses, at = [], 0
        for one in rows:
            output = pb_utils.Tensor("output", found[at : at + len(one)])
            responses.append(pb_utils.InferenceResponse([output]))
            at += len(one)
        return responses
