"""A word -> how it is said: a beam search whose network is another model of the cluster."""

import json
import re

import numpy as np
import triton_python_backend_utils as pb_utils

from .beam import search

LENGTH = 16


class TritonPythonModel:
    """One of Triton's Python models; calls the model `g2p` for every phoneme (BLS)."""

    def initialize(self, args):
        """Read how wide to search, and the names of the phonemes."""
        parameters = json.loads(args["model_config"])["parameters"]
        self.beams = int(parameters["beams"]["string_value"])
        self.symbols = ["", "", "", *parameters["symbols"]["string_value"].split()]

    def execute(self, requests):
        """Each request by itself, all its words together."""
        return [self.response(request) for request in requests]

    def response(self, request):
        """The phonemes of each word, or an error if a word is none."""
        words = pb_utils.get_input_tensor_by_name(request, "WORD").as_numpy()[:, 0]
        try:
            letters = np.array([_letters(word.decode("utf-8", "replace")) for word in words])
            said, looked = search(self.network, letters, self.beams)
        except ValueError as error:
            refusal = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        texts = [" ".join(self.symbols[number] for number in row if number) for row in said]
        phonemes = np.array([[text.encode()] for text in texts], dtype=object)
        tensors = [pb_utils.Tensor("PHONEMES", phonemes), pb_utils.Tensor("LOOKED", looked)]
        return pb_utils.InferenceResponse(output_tensors=tensors)

    def network(self, letters, prefix):
        """Ask the cluster for what comes next."""
        call = pb_utils.InferenceRequest(
            model_name="g2p",
            requested_output_names=["logs", "looked"],
            inputs=[pb_utils.Tensor("letters", letters), pb_utils.Tensor("prefix", prefix)],
        )
        response = call.exec()
        if response.has_error():
            raise pb_utils.TritonModelException(response.error().message())
        return tuple(
            pb_utils.get_output_tensor_by_name(response, name).as_numpy()
            for name in ("logs", "looked")
        )


def _letters(word):
    if not re.fullmatch(rf"[a-z']{{1,{LENGTH}}}", word):
        raise ValueError(f"a word has 1 to {LENGTH} letters from a to z, or apostrophes")
    numbers = [27 if sign == "'" else ord(sign) - 96 for sign in word]
    return numbers + [0] * (LENGTH - len(word))
