"""Calls other models, and says what came of it."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


def inputs(rows=1):
    a = np.arange(4 * rows, dtype=np.float32).reshape(rows, 4)
    return [pb_utils.Tensor("A", a), pb_utils.Tensor("B", np.ones_like(a))]


def call(model="add_sub", tensors=None, outputs=("SUM", "DIFF"), **more):
    return pb_utils.InferenceRequest(
        model_name=model,
        requested_output_names=list(outputs),
        inputs=inputs() if tensors is None else tensors,
        **more,
    )


def shown(response):
    if response.has_error():
        return {"error": response.error().message()}
    return {one.name(): one.as_numpy().tolist() for one in response.output_tensors()}


class TritonPythonModel:
    def initialize(self, args):
        try:
            call().exec()
        except pb_utils.TritonModelException as error:
            self.early = str(error)

    def execute(self, requests):
        (request,) = requests
        what = pb_utils.get_input_tensor_by_name(request, "WHAT").as_numpy()[0].decode()
        text = json.dumps(self.tried(what), sort_keys=True)
        array = np.array([text.encode()], dtype=np.object_)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("TEXT", array)])]

    def tried(self, what):
        if what == "early":
            return self.early
        if what == "both":
            return shown(call().exec())
        if what == "one output":
            response = call(outputs=["DIFF"]).exec()
            tensor = pb_utils.get_output_tensor_by_name(response, "DIFF")
            absent = pb_utils.get_output_tensor_by_name(response, "SUM")
            return [tensor.as_numpy().tolist(), absent is None]
        if what == "rows":
            return shown(call(tensors=inputs(3)).exec())
        if what == "facts":
            x = pb_utils.Tensor("X", np.array([1, 2], np.int32))
            memory = pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU)
            asked = call(
                "facts",
                [x],
                ["FACTS"],
                model_version=1,
                request_id="inner",
                correlation_id=5,
                flags=pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START,
                timeout=10_000_000,
                preferred_memory=memory,
                parameters={"word": "w", "number": 3, "yes": True},
            )
            facts = pb_utils.get_output_tensor_by_name(asked.exec(), "FACTS")
            return json.loads(facts.as_numpy()[0])
        if what == "no such model":
            return shown(call("no_such_model").exec())
        if what == "no such version":
            return shown(call(model_version=9).exec())
        if what == "missing input":
            return shown(call(tensors=inputs()[:1]).exec())
        if what == "wrong shape":
            wrong = pb_utils.Tensor("B", np.ones((1, 3), np.float32))
            return shown(call(tensors=[inputs()[0], wrong]).exec())
        if what == "wrong type":
            wrong = pb_utils.Tensor("B", np.ones((1, 4), np.int32))
            return shown(call(tensors=[inputs()[0], wrong]).exec())
        if what == "many rows":
            return shown(call(tensors=inputs(9)).exec())
        if what == "unknown output":
            return shown(call(outputs=["NONE"]).exec())
        if what == "it fails":
            text = pb_utils.Tensor("WHAT", np.array([b"NOT_FOUND"], dtype=np.object_))
            response = call("errors", [text], ["Y"]).exec()
            return [shown(response), int(response.error().code())]
        if what == "decoupled":
            count = pb_utils.Tensor("COUNT", np.array([2], np.int32))
            return shown(call("repeat", [count], ["NUMBER"]).exec())
        if what == "ready":
            return [
                pb_utils.is_model_ready("add_sub"),
                pb_utils.is_model_ready("add_sub", "1"),
                pb_utils.is_model_ready("add_sub", "9"),
                pb_utils.is_model_ready("no_such_model"),
            ]
        raise ValueError(what)
