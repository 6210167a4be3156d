"""The rule: a digit that is sure enough is an answer; otherwise somebody has to look."""

from collections.abc import Mapping

import numpy as np

from penstock.python_model import Context, Parameters
from penstock.tensors import Array


class Model:
    """`probabilities` to `answer`, text, and `sure`."""

    def load(self, context: Context) -> None:
        """Read from config.pbtxt how sure is sure enough."""
        self.least_sure = float(context.parameters["least_sure"])

    def execute(self, inputs: Mapping[str, Array], parameters: Parameters) -> dict[str, Array]:
        """Judge each row; a request may have a `least_sure` of its own."""
        probabilities = inputs["probabilities"]
        least_sure = parameters.get("least_sure", self.least_sure)
        order = np.argsort(-probabilities, axis=1)
        sure = probabilities.max(axis=1) >= least_sure
        answers = [
            str(first) if certain else f"{first} or {second}?"
            for certain, (first, second) in zip(sure, order[:, :2], strict=True)
        ]
        return {"answer": np.array(answers, dtype=object)[:, np.newaxis], "sure": sure[:, None]}
