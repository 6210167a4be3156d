"""A decoupled model that does what its requests say, and streams to ask it with."""

import queue

import numpy as np
import tritonclient.grpc as triton
from support.models.python_models import config, write_python

CODE = """
import os
import time
from pathlib import Path

import numpy as np

from penstock.errors import InvalidRequest


class Model:
    def load(self, context):
        self.notes = Path(context.parameters["notes"])

    def execute(self, inputs, parameters):
        count, fail_at = int(inputs["count"][0]), parameters.get("fail_at", -1)
        size, salt = parameters.get("size", 1), parameters.get("salt", 0)
        gate = parameters.get("gate")
        made = 0
        try:
            for number in range(count):
                if number == fail_at:
                    raise InvalidRequest("no more")
                if gate and number == parameters.get("gate_at", 1):
                    self.wait_for(gate)
                value = os.getpid() if salt else number
                made = number + 1
                if "progress" in parameters:
                    (self.notes / parameters["progress"]).write_text(str(made))
                yield {
                    "number": np.array([number], np.int32),
                    "data": np.full(size, value, np.int32),
                }
                time.sleep(parameters.get("pause", 0.0))
        finally:
            if "note" in parameters:
                (self.notes / parameters["note"]).write_text(str(made))

    def wait_for(self, gate):
        \"\"\"Say that this worker is there, and wait until the gate opens.\"\"\"
        (self.notes / f"{gate}-{os.getpid()}").touch()
        while not (self.notes / gate).exists():
            time.sleep(0.005)
"""


def write_counter(root, notes, name="counter", *, count=1):
    """`count` INT32 [1] -> so many responses: `number`, and `data` of as many as asked for."""
    settings = config(
        {"count": "data_type: TYPE_INT32 dims: [ 1 ]"},
        {
            "number": "data_type: TYPE_INT32 dims: [ 1 ]",
            "data": "data_type: TYPE_INT32 dims: [ -1 ]",
        },
        more="model_transaction_policy { decoupled: true }\n"
        f'parameters {{ key: "notes" value {{ string_value: "{notes}" }} }}\n'
        f"instance_group {{ count: {count} kind: KIND_CPU }}",
    )
    return write_python(root, name, CODE, settings)


def counted(number, kind=triton.InferInput):
    """The inputs of a request for *number* responses."""
    one = kind("count", [1], "INT32")
    one.set_data_from_numpy(np.array([number], np.int32))
    return [one]


class Stream:
    """A client with a stream, and the responses to it."""

    def __init__(self, client, **options):
        self._client = client
        self._responses = queue.Queue()
        client.start_stream(lambda result, error: self._responses.put((result, error)), **options)

    def ask(self, number, id_="", model="counter", **parameters):
        self._client.async_stream_infer(
            model,
            counted(number),
            request_id=id_,
            enable_empty_final_response=True,
            parameters=parameters,
        )

    def next(self, timeout=30):
        return self._responses.get(timeout=timeout)

    def empty(self):
        return self._responses.empty()

    def all(self):
        """All responses to one request up to its final one, or to the error that ends it."""
        found = []
        while True:
            result, error = self.next()
            if error is not None:
                return found, error
            if is_final(result):
                return found, None
            found.append(result)


def is_final(result):
    return result.get_response().parameters["triton_final_response"].bool_param


def numbers(results):
    return [int(result.as_numpy("number")[0]) for result in results]


def addends(kind=triton.InferInput):
    """Inputs of `add_sub`, which answers once."""
    found = []
    for name in ("INPUT0", "INPUT1"):
        one = kind(name, [1, 16], "INT32")
        one.set_data_from_numpy(np.ones((1, 16), np.int32))
        found.append(one)
    return found
