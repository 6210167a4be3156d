"""Answers of a language model over ModelStreamInfer, put together again; and over plain HTTP."""

import json
import queue
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field

import grpc
import numpy as np

from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import grpc_service_pb2_grpc as pb_grpc

PATIENCE_S = 60.0


@dataclass
class Answer:
    """One answer, as far as it has come.

    Attributes:
        parts: how many tokens each response had.
        logprobs: what was said of each token.
        about: the parameters of the last response.
    """

    text: str = ""
    tokens: list = field(default_factory=list)
    parts: list = field(default_factory=list)
    logprobs: list = field(default_factory=list)
    about: dict = field(default_factory=dict)
    error: str = ""

    @property
    def ended(self):
        return bool(self.error or "finish_reason" in self.about)


def request(model, prompt, sampling="", id_="", **parameters):
    """A request for an answer to a text, or to tokens; *sampling* are parameters as JSON."""
    asked = pb.ModelInferRequest(model_name=model, id=id_)
    if isinstance(prompt, str):
        content = prompt.encode()
        asked.inputs.add(name="text_input", datatype="BYTES", shape=[1])
        asked.raw_input_contents.append(len(content).to_bytes(4, "little") + content)
    else:
        asked.inputs.add(name="input_ids", datatype="INT64", shape=[len(prompt)])
        asked.raw_input_contents.append(np.asarray(prompt, "<i8").tobytes())
    if sampling:
        content = sampling.encode()
        asked.inputs.add(name="sampling_parameters", datatype="BYTES", shape=[1])
        asked.raw_input_contents.append(len(content).to_bytes(4, "little") + content)
    kinds = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    for name, value in parameters.items():
        setattr(asked.parameters[name], kinds[type(value)], value)
    return asked


class Answers:
    """Many answers over one stream; a thread reads what comes."""

    def __init__(self, url):
        self._channel = grpc.insecure_channel(url)
        self._requests = queue.SimpleQueue()
        self._came = threading.Condition()
        self._by_id = {}
        stub = pb_grpc.GRPCInferenceServiceStub(self._channel)
        self._call = stub.ModelStreamInfer(iter(self._requests.get, None))
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._call.cancel()
        self._requests.put(None)
        self._channel.close()
        self._reading.join(PATIENCE_S)

    def ask(self, model, prompt, sampling="", **parameters):
        """Ask, and do not wait."""
        return self.send(request(model, prompt, sampling, **parameters))

    def send(self, asked):
        """Send a request, and do not wait."""
        asked.id = str(len(self._by_id))
        answer = self._by_id[asked.id] = Answer()
        self._requests.put(asked)
        return answer

    def until(self, condition):
        """Wait until *condition* is true of what has come."""
        with self._came:
            assert self._came.wait_for(condition, PATIENCE_S), list(self._by_id.values())

    def ended(self, answers):
        """The same *answers*, once all have ended."""
        self.until(lambda: all(answer.ended for answer in answers))
        return answers

    def _read(self):
        try:
            for response in self._call:
                self._take(response)
        except grpc.RpcError as error:
            with self._came:
                for answer in self._by_id.values():
                    if not answer.ended:
                        answer.error = str(error)
                self._came.notify_all()

    def _take(self, response):
        body = response.infer_response
        with self._came:
            answer = self._by_id[body.id]
            answer.error = response.error_message
            for output, raw in zip(body.outputs, body.raw_output_contents, strict=True):
                if output.name == "text_output":
                    answer.text += raw[4:].decode()
                elif output.name == "logprobs":
                    answer.logprobs += json.loads(raw[4:])
                else:
                    tokens = np.frombuffer(raw, "<i8").tolist()
                    answer.tokens += tokens
                    answer.parts.append(len(tokens))
            for name in body.parameters:
                if not name.startswith("triton"):
                    value = body.parameters[name]
                    answer.about[name] = getattr(value, value.WhichOneof("parameter_choice"))
            self._came.notify_all()


def ask(cluster, path, body=None, headers=None):
    """The status, and the body as it came; a *path* without a slash is below /v1."""
    content = None if body is None else json.dumps(body).encode()
    path = path.removeprefix("/") if path.startswith("/") else f"v1/{path}"
    asked = urllib.request.Request(f"http://{cluster.http_url()}/{path}", content, headers or {})
    try:
        with urllib.request.urlopen(asked) as response:  # noqa: S310
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def chunks(content):
    """The events of a stream, which must end as it should."""
    *events, done, rest = content.decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events if event[0] != ":"]
