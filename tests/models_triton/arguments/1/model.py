"""What `initialize` is given, and the helpers that read it."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.args = args
        config = json.loads(args["model_config"])
        given = pb_utils.get_input_config_by_name(config, "NAME")
        made = pb_utils.get_output_config_by_name(config, "VALUE")
        self.helped = {
            "input": given,
            "output": made,
            "numpy": np.dtype(pb_utils.triton_string_to_numpy(made["data_type"])).name,
            "none": [
                pb_utils.get_input_config_by_name(config, "OTHER"),
                pb_utils.get_output_config_by_name(config, "OTHER"),
            ],
            "decoupled": pb_utils.using_decoupled_model_transaction_policy(config),
            "greeting": config["parameters"]["greeting"]["string_value"],
            "model_dir_ends": "/".join(pb_utils.get_model_dir().split("/")[-2:]),
        }

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        name = pb_utils.get_input_tensor_by_name(request, "NAME").as_numpy()[0, 0].decode()
        values = {
            "keys": json.dumps(sorted(self.args)),
            "types": json.dumps(sorted({type(one).__name__ for one in self.args.values()})),
            "helped": json.dumps(self.helped, sort_keys=True),
        }
        value = values.get(name) or self.args[name]
        array = np.array([[value.encode()]], dtype=np.object_)
        return pb_utils.InferenceResponse([pb_utils.Tensor("VALUE", array)])
