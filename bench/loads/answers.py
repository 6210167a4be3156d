"""Whether the answers of a load say what the first one did, which was looked at."""

from typing import TypeAlias

import numpy as np

from penstock.gateway.fronts.grpc.asgi.wire import PREFIX_BYTES, framed
from penstock.protos import grpc_service_pb2 as pb

Numbers: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"


class Judge:
    """Compares answers, in gRPC's frames, with *first*, a serialized ModelInferResponse.

    What a sum comes to depends on the batch that a request is in, a bit; and most answers are
    equal to one that has been found right.
    """

    def __init__(self, first: bytes) -> None:
        self._right = {framed(first)}
        self._numbers = numbers_of(first)

    def is_right(self, answer: bytes) -> bool:
        """Whether *answer* is one message, and says the same."""
        if answer in self._right:
            return True
        size = int.from_bytes(answer[1:PREFIX_BYTES], "big")
        if len(answer) < PREFIX_BYTES or answer[0] or size != len(answer) - PREFIX_BYTES:
            return False
        found = numbers_of(answer[PREFIX_BYTES:])
        if found.shape != self._numbers.shape:
            return False
        if not np.allclose(found, self._numbers, rtol=1e-3, atol=1e-4):
            return False
        self._right.add(answer)
        return True


def numbers_of(reply: bytes) -> Numbers:
    """All that a serialized ModelInferResponse holds, flat."""
    response = pb.ModelInferResponse.FromString(reply)
    if response.raw_output_contents:
        return np.frombuffer(b"".join(response.raw_output_contents), "<f4")
    typed = [number for output in response.outputs for number in output.contents.fp32_contents]
    return np.array(typed, np.float32)
