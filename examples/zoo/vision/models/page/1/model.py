"""A picture of a page -> its lines of text: two networks of the cluster, called by BLS."""

import io
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from PIL import Image

from .reading import read_page

LARGEST = 4_000_000
"""Pixels of a page at most."""


class TritonPythonModel:
    """One of Triton's Python models."""

    def initialize(self, args):  # noqa: ARG002
        """Read the letters beside this file; number 0 is none."""
        letters = (Path(__file__).parent / "letters.txt").read_text(encoding="utf-8")
        self.letters = ["", *letters.split("\n")]

    def execute(self, requests):
        """A page a request."""
        return [self.response(request) for request in requests]

    def response(self, request):
        """Texts, boxes and sureness, or an error if the picture is none."""
        content = pb_utils.get_input_tensor_by_name(request, "PAGE").as_numpy().ravel()
        try:
            pixels = _pixels(content)
        except ValueError as error:
            refusal = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        texts, boxes, sure = read_page(pixels, self.find, self.read, self.letters)
        lines = np.array([text.encode() for text in texts], dtype=object)
        tensors = zip(("TEXTS", "BOXES", "SURE"), (lines, boxes, sure), strict=True)
        return pb_utils.InferenceResponse(
            output_tensors=[pb_utils.Tensor(name, array) for name, array in tensors]
        )

    def find(self, pixels):
        """How surely each pixel is text."""
        return _asked("page_lines", {"x": pixels}, "fetch_name_0")[0]

    def read(self, lines):
        """Numbers of letters, and how sure they are."""
        return _asked("line_text", {"x": lines}, "best", "sure")


def _pixels(content):
    if len(content) != 1:
        raise ValueError("a request has one page")
    try:
        image = Image.open(io.BytesIO(content[0]))
        if image.width * image.height > LARGEST:
            raise ValueError(f"a page has at most {LARGEST:,} pixels")
        return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError):
        raise ValueError("the page is not a picture that can be read") from None


def _asked(model, inputs, *outputs):
    call = pb_utils.InferenceRequest(
        model_name=model,
        requested_output_names=list(outputs),
        inputs=[pb_utils.Tensor(name, array) for name, array in inputs.items()],
    )
    response = call.exec()
    if response.has_error():
        raise pb_utils.TritonModelException(response.error().message())
    return tuple(pb_utils.get_output_tensor_by_name(response, name).as_numpy() for name in outputs)
