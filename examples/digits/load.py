"""Concurrent clients that ask one question per image, through the generated stubs alone."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import grpc
import numpy as np
import numpy.typing as npt

from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import grpc_service_pb2_grpc

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

_CHANNELS = 4
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: which model and version, and the images [n, 1, 8, 8]."""

    model: str
    version: str
    images: Floats

    def request(self, place: int) -> pb.ModelInferRequest:
        """One image as a request that also asks for the path it takes."""
        image = self.images[place : place + 1]
        tensor = pb.ModelInferRequest.InferInputTensor(
            name="image", datatype="FP32", shape=image.shape
        )
        request = pb.ModelInferRequest(
            model_name=self.model,
            model_version=self.version,
            id=str(place),
            inputs=[tensor],
            raw_input_contents=[image.tobytes()],
        )
        request.parameters["penstock_path"].bool_param = True
        return request


@dataclass(slots=True)
class Answers:
    """What came back.

    ``probabilities`` holds each image's latest answer; ``differing`` counts answers that name
    another digit than the answer to the same image before.
    """

    probabilities: Floats
    asked: int = 0
    differing: int = 0
    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    paths: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        """Requests that ended without an answer."""
        return self.failures.total()

    @property
    def digits(self) -> Labels:
        """The most probable digit of each image; -1 where no answer came."""
        answered = self.probabilities.max(axis=1) > 0
        return np.where(answered, self.probabilities.argmax(axis=1), -1)

    def accuracy(self, labels: Labels) -> float:
        """The share of images that were named rightly."""
        return float(np.mean(self.digits == labels))


async def ask_all(
    address: str,
    question: Question,
    rounds: int,
    clients: int,
    answered: Callable[[int], None],
) -> Answers:
    """Ask for every image *rounds* times, with *clients* requests in flight.

    *answered* is told how many have an answer by now.
    """
    count = len(question.images)
    answers = Answers(np.zeros((count, 10), np.float32))
    requests = [question.request(place) for place in range(count)]
    places = iter([place for _ in range(rounds) for place in range(count)])
    # One connection would be one flow-control window and one stream of frames for all.
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options) for _ in range(_CHANNELS)]
    stubs = [grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel) for channel in channels]
    try:
        began = time.perf_counter()
        await asyncio.gather(
            *(
                _client(stubs[number % _CHANNELS], requests, places, answers, answered)
                for number in range(clients)
            )
        )
        answers.seconds = time.perf_counter() - began
    finally:
        for channel in channels:
            await channel.close()
    return answers


async def _client(
    stub: grpc_service_pb2_grpc.GRPCInferenceServiceStub,
    requests: list[pb.ModelInferRequest],
    places: Iterator[int],
    answers: Answers,
    answered: Callable[[int], None],
) -> None:
    """Ask for the next image that nobody has asked for, until there is none."""
    for place in places:
        answers.asked += 1
        began = time.perf_counter()
        try:
            reply = await stub.ModelInfer(requests[place], timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            answers.failures[f"{error.code().name}: {error.details()}"] += 1
        else:
            answers.latencies_ms.append((time.perf_counter() - began) * 1000)
            answers.paths[reply.parameters["penstock_path"].string_param] += 1
            _keep(answers, place, reply)
        answered(len(answers.latencies_ms))


def _keep(answers: Answers, place: int, reply: pb.ModelInferResponse) -> None:
    names = [output.name for output in reply.outputs]
    raw = reply.raw_output_contents[names.index("probabilities")]
    probabilities = np.frombuffer(raw, dtype="<f4")
    earlier = answers.probabilities[place]
    if earlier.any() and earlier.argmax() != probabilities.argmax():
        answers.differing += 1
    answers.probabilities[place] = probabilities
