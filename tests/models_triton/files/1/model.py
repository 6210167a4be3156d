"""A module and a file of the model's own, and an end in order."""

import json
import os

import numpy as np
import triton_python_backend_utils as pb_utils

from .rules import shout


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        name = config["parameters"]["note"]["string_value"]
        with open(os.path.join(args["model_repository"], name)) as file:
            self.words = file.read().split()
        beside = os.path.join(os.path.dirname(__file__), "words.txt")
        with open(beside) as file:
            assert file.read().split() == self.words

    def execute(self, requests):
        responses = []
        for request in requests:
            word = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()[0].decode()
            text = shout(word) if word in self.words else "unknown"
            array = np.array([text.encode()], dtype=np.object_)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("Y", array)]))
        return responses

    def finalize(self):
        print("finalized")
