"""A configuration that the code completes."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(auto_complete_model_config):
        given = {"name": "X", "data_type": "TYPE_FP32", "dims": [2]}
        more = {"name": "SCALE", "data_type": "TYPE_FP32", "dims": [1], "optional": True}
        made = {"name": "Y", "data_type": "TYPE_FP32", "dims": [2]}
        assert auto_complete_model_config.as_dict()["input"] == []
        auto_complete_model_config.set_max_batch_size(4)
        auto_complete_model_config.add_input(given)
        auto_complete_model_config.add_input(more)
        auto_complete_model_config.add_output(made)
        auto_complete_model_config.set_dynamic_batching()
        return auto_complete_model_config

    def execute(self, requests):
        responses = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
            scale = pb_utils.get_input_tensor_by_name(request, "SCALE")
            y = x * (np.float32(2) if scale is None else scale.as_numpy())
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("Y", y)]))
        return responses
