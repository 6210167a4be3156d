"""Decodes pictures: PNG files of grey values, shrunk to what the model of digits reads."""

from collections.abc import Mapping

import numpy as np
from png import Grey, NotReadable, grey_values

from penstock.errors import InvalidRequest
from penstock.python_model import Parameters
from penstock.tensors import Array

SIDE = 8


class Model:
    """`picture`, the bytes of a file, to `image`: 8 x 8, from 0 (paper) to 1 (ink)."""

    def execute(self, inputs: Mapping[str, Array], parameters: Parameters) -> dict[str, Array]:
        """Decode each picture of the batch; `paper` (bool) says that the paper is white."""
        try:
            images = [shrunk(grey_values(picture)) for picture in inputs["picture"][:, 0]]
        except NotReadable as error:
            raise InvalidRequest(str(error)) from error
        ink = np.stack(images)[:, np.newaxis].astype(np.float32) / 255
        return {"image": 1 - ink if parameters.get("paper", False) else ink}


def shrunk(values: Grey) -> Array:
    """The means of 8 x 8 equal blocks."""
    height, width = values.shape
    if height % SIDE or width % SIDE or not values.size:
        raise NotReadable(f"width and height must be multiples of {SIDE}, not {width} x {height}")
    blocks = values.reshape(SIDE, height // SIDE, SIDE, width // SIDE)
    return blocks.mean(axis=(1, 3))
