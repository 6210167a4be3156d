"""Sends the one response of a model that is not decoupled, and tries what it may not."""

import numpy as np
import triton_python_backend_utils as pb_utils

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


def response(text):
    array = np.array([text.encode()], dtype=np.object_)
    return pb_utils.InferenceResponse([pb_utils.Tensor("TEXT", array)])


class TritonPythonModel:
    def execute(self, requests):
        (request,) = requests
        what = pb_utils.get_input_tensor_by_name(request, "WHAT").as_numpy()[0].decode()
        sender = request.get_response_sender()
        if what == "sent":
            assert not sender.is_cancelled()
            sender.send(response("it was sent"), flags=FINAL)
        elif what == "sent, then final":
            sender.send(response("it was sent first"))
            sender.send(flags=FINAL)
        elif what == "returned":
            return [response("it was returned")]
        else:
            sender.send(response(self.tried(what, sender)), flags=FINAL)
        return [None]

    def tried(self, what, sender):
        try:
            if what == "nothing":
                sender.send()
            elif what == "strange flag":
                sender.send(response("x"), flags=5)
            elif what == "final first":
                sender.send(flags=FINAL)
        except pb_utils.TritonModelException as error:
            return str(error)
        return "fine"
