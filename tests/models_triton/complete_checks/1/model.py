"""What `auto_complete_config` may not do to the configuration that it is given."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils

TRIALS = {
    "smaller batch": lambda c: c.set_max_batch_size(2),
    "other type": lambda c: c.add_input({"name": "WHAT", "data_type": "TYPE_FP32", "dims": [1]}),
    "other dims": lambda c: c.add_input({"name": "WHAT", "data_type": "TYPE_STRING", "dims": [2]}),
    "other output": lambda c: c.add_output({"name": "TEXT", "data_type": "TYPE_FP32", "dims": [1]}),
    "more properties": lambda c: c.add_output(
        {"name": "T", "data_type": "TYPE_FP32", "dims": [1], "optional": True}
    ),
    "more of an input": lambda c: c.add_input(
        {"name": "T", "data_type": "TYPE_FP32", "dims": [1], "reshape": 1}
    ),
    "no name": lambda c: c.add_input({"data_type": "TYPE_FP32", "dims": [1]}),
    "no type": lambda c: c.add_input({"name": "T", "dims": [1]}),
    "no dims": lambda c: c.add_output({"name": "T", "data_type": "TYPE_FP32"}),
    "policy": lambda c: c.set_model_transaction_policy({"other": True}),
    "policy twice": lambda c: (
        c.set_model_transaction_policy({"decoupled": True}),
        c.set_model_transaction_policy({"decoupled": False}),
    ),
    "batching": lambda c: c.set_dynamic_batching(),
}


def tried(config, name):
    copy = pb_utils.ModelConfig(json.dumps(config))
    if name == "batching":
        copy.as_dict()["sequence_batching"] = {}
    try:
        TRIALS[name](copy)
    except ValueError as error:
        return str(error)
    return "fine"


class TritonPythonModel:
    def initialize(self, args):
        self.config = json.loads(args["model_config"])

    def execute(self, requests):
        (request,) = requests
        what = pb_utils.get_input_tensor_by_name(request, "WHAT").as_numpy()[0, 0].decode()
        array = np.array([[tried(self.config, what).encode()]], dtype=np.object_)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("TEXT", array)])]
