"""Replies of which there may be any number: one request on a stream of its own.

Both clients ask with `streamed`, and read each message with `Replies`. What is left to them is to
wait, and to give the call up when nobody reads on.
"""

from penstock.client.channel import Metadata
from penstock.client.encoding import InferResult
from penstock.client.failures import Unavailable
from penstock.protos.grpc_service_pb2 import ModelInferRequest, ModelStreamInferResponse

METADATA: Metadata = (("triton_grpc_error", "true"),)
"""Failures come as the status of the call, not as text beside replies."""


def streamed(request: ModelInferRequest) -> ModelInferRequest:
    """*request*, such that the end of its replies is told."""
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    return request


class Replies:
    """The replies to one request, as they are read.

    Attributes:
        begun: a message has come: the request cannot be sent again.
        complete: the last one has been read.
    """

    def __init__(self) -> None:
        self.begun = False
        self.complete = False

    def read(self, message: ModelStreamInferResponse) -> InferResult | None:
        """The reply in *message*; None in one that only says that there are no more."""
        self.begun = True
        response = message.infer_response
        self.complete = response.parameters["triton_final_response"].bool_param
        if self.complete and not response.outputs:
            return None
        del response.parameters["triton_final_response"]
        return InferResult(response)

    def check_complete(self) -> None:
        """Raise `Unavailable` where the stream has ended, and the replies have not."""
        if not self.complete:
            raise Unavailable(
                "the stream ended before all replies had come: send the request again"
            )
