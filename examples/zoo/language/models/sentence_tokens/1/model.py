"""Texts -> word pieces and a mask; the texts of one request are padded to the longest of them."""

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

from .wordpiece import WordPiece


class TritonPythonModel:
    """One of Triton's Python models, as its documentation has them."""

    def initialize(self, args):
        """Read the vocabulary beside this file."""
        parameters = json.loads(args["model_config"])["parameters"]
        self.most = int(parameters["most_pieces"]["string_value"])
        words = (Path(__file__).parent / "vocab.txt").read_text(encoding="utf-8")
        self.tokenizer = WordPiece(words.rstrip("\n").split("\n"))

    def execute(self, requests):
        """Each request by itself: their texts differ in length."""
        return [self.response(request) for request in requests]

    def response(self, request):
        """Pieces and mask of a request, or an error if a text is none."""
        texts = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()[:, 0]
        try:
            rows = [self.tokenizer.pieces(text.decode(), self.most) for text in texts]
        except UnicodeDecodeError:
            error = pb_utils.TritonError("a text must be UTF-8", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=error)
        longest = max(map(len, rows))
        pieces = np.array([row + [0] * (longest - len(row)) for row in rows], np.int64)
        mask = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in rows], np.int64)
        tensors = [pb_utils.Tensor("pieces", pieces), pb_utils.Tensor("mask", mask)]
        return pb_utils.InferenceResponse(output_tensors=tensors)
