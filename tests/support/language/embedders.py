"""A model that makes embeddings of texts and of tokens: how often each remainder by 16 is there."""

import numpy as np
from support.models.python_models import write_python

SIZE = 16
MOST_ROWS = 4

CODE = """
import numpy as np


class Model:
    def execute(self, inputs, parameters):
        if "TEXT" in inputs:
            rows = [np.frombuffer(text, np.uint8) for text in inputs["TEXT"][:, 0]]
        else:
            rows = [row[row >= 0] for row in inputs["TOKENS"]]
        places = [np.bincount(row % 16, minlength=16) for row in rows]
        return {
            "PLACE": np.array([place / len(row) for place, row in zip(places, rows)], np.float32),
            "COUNT": np.array([[len(row)] for row in rows], np.int64),
        }
"""

SETTINGS = f"""
backend: "python"
max_batch_size: {MOST_ROWS}
input {{ name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] optional: true }}
input {{ name: "TOKENS" data_type: TYPE_INT64 dims: [ -1 ] optional: true }}
output {{ name: "PLACE" data_type: TYPE_FP32 dims: [ {SIZE} ] }}
output {{ name: "COUNT" data_type: TYPE_INT64 dims: [ 1 ] }}
parameters {{ key: "embeddings" value {{ string_value: "PLACE" }} }}
"""


def write_embedder(root, name="places"):
    """The model in a repository."""
    return write_python(root, name, CODE, SETTINGS)


def place_of(row):
    """The vector of a text, or of tokens, as float32."""
    numbers = np.frombuffer(row.encode(), np.uint8) if isinstance(row, str) else np.array(row)
    found = np.bincount(numbers % SIZE, minlength=SIZE) / len(numbers)
    return found.astype(np.float32)
