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
        self.words = words.rstrip("\n").split("\n")
        self.tokenizer = WordPiece(self.words)

    def execute(self, requests):
        """Each request by itself: their texts differ in length."""
        return [self.response(request) for request in requests]

    def response(self, request):
        """Pieces, mask and count of a request, or an error if a text is none."""
        try:
            rows = self.rows(request)
        except ValueError as refused:
            code = pb_utils.TritonError.INVALID_ARG
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(refused), code))
        longest = max(map(len, rows))
        pieces = np.array([row + [0] * (longest - len(row)) for row in rows], np.int64)
        mask = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in rows], np.int64)
        count = np.array([[len(row)] for row in rows], np.int64)
        arrays = {"pieces": pieces, "mask": mask, "count": count}
        tensors = [pb_utils.Tensor(name, array) for name, array in arrays.items()]
        return pb_utils.InferenceResponse(output_tensors=tensors)

    def rows(self, request):
        """The pieces of each text."""
        texts = pb_utils.get_input_tensor_by_name(request, "TEXT")
        if texts is not None:
            return [self.pieces(text) for text in texts.as_numpy()[:, 0]]
        given = pb_utils.get_input_tensor_by_name(request, "TOKENS")
        if given is None:
            raise ValueError("give TEXT or TOKENS")
        rows = [row[row >= 0][: self.most].tolist() for row in given.as_numpy()]
        if not all(rows) or max(map(max, rows)) >= len(self.words):
            raise ValueError(f"each text has one piece at least, below {len(self.words)}")
        return rows

    def pieces(self, text):
        """Those of one text."""
        try:
            return self.tokenizer.pieces(text.decode(), self.most)
        except UnicodeDecodeError:
            raise ValueError("a text must be UTF-8") from None
