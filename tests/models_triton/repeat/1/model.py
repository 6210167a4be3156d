"""So many responses as were asked for, from a thread; below zero it raises, and so on."""

import threading

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.threads = []

    def execute(self, requests):
        for request in requests:
            count = int(pb_utils.get_input_tensor_by_name(request, "COUNT").as_numpy()[0])
            if count == -1:
                raise ValueError("below zero")
            if count == -2:
                return [None]
            thread = threading.Thread(target=self.send, args=(request, count))
            self.threads.append(thread)
            thread.start()
        return None

    def send(self, request, count):
        sender = request.get_response_sender()
        final = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        if count == -3:
            error = pb_utils.TritonError("as asked", pb_utils.TritonError.INVALID_ARG)
            sender.send(pb_utils.InferenceResponse(error=error), flags=final)
            return
        for number in range(count):
            tensor = pb_utils.Tensor("NUMBER", np.array([number], np.int32))
            sender.send(pb_utils.InferenceResponse([tensor]))
        sender.send(flags=final)

    def finalize(self):
        for thread in self.threads:
            thread.join()
