"""Sends after the end, and tells with the next request what came of it."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.told = "nothing yet"

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            array = np.array([self.told.encode()], dtype=np.object_)
            response = pb_utils.InferenceResponse([pb_utils.Tensor("TEXT", array)])
            sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            try:
                sender.send(response)
            except pb_utils.TritonModelException as error:
                self.told = str(error)
