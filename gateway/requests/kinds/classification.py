"""The classification extension: an output as its top classes instead of its numbers.

An output asked for with the parameter `classification: k` comes back as BYTES, for each row of
the batch its k largest elements as "value:index", with ":label" behind where the model has a
label file (https://github.com/triton-inference-server/server/blob/main/docs/protocol/
extension_classification.md). Pure; only requests that ask for it come here.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from penstock.errors import InvalidRequest
from penstock.protos import wire
from penstock.protos.grpc_service_pb2 import ModelInferResponse
from penstock.tensors import float32_from_bf16, from_raw, pack_bytes

MOST_CLASSES: Final = 1 << 20
"""Texts in the place of one output."""

Labels = Mapping[str, Sequence[str]]


def classify(reply: bytes, classes: Mapping[str, int], labels: Labels, *, batched: bool) -> bytes:
    """A serialized ModelInferResponse in which some outputs are their top classes.

    Args:
        reply: a serialized ModelInferResponse with raw outputs.
        classes: output -> how many classes; other outputs stay as they are.
        labels: output -> its labels by index; there may be fewer than elements.
        batched: the first dimension is the batch's.
    """
    head, raws = wire.split_response(reply)
    response = ModelInferResponse.FromString(head)
    contents: list[wire.Buffer] = []
    for output, raw in zip(response.outputs, raws, strict=True):
        most = classes.get(output.name)
        if most is None:
            contents.append(raw)
            continue
        lead = list(output.shape[:1]) if batched else []
        rows = lead[0] if lead else 1
        numbers = from_raw(raw, output.datatype, output.shape)
        if output.datatype == "BF16":
            numbers = float32_from_bf16(numbers)
        count = min(most, math.prod(output.shape[len(lead) :]))
        if rows * count > MOST_CLASSES:
            raise InvalidRequest(
                f"the classes of output '{output.name}' would be {rows * count} texts, and a reply "
                f"may have {MOST_CLASSES}: ask for fewer than {count}, or for the output itself"
            )
        names = labels.get(output.name, ())
        words = [word for row in numbers.reshape(rows, -1) for word in _top(row, count, names)]
        contents.append(pack_bytes(words))
        output.datatype = "BYTES"
        output.shape[:] = [*lead, count]
    return wire.with_raw_outputs(response.SerializeToString(), contents)


def _top(row: npt.NDArray[Any], count: int, labels: Sequence[str]) -> list[str]:
    """The *count* largest elements of *row*; of equal ones the first comes first, NaN is least."""
    ranked = np.where(np.isnan(row), -np.inf, row) if row.dtype.kind == "f" else row
    # Sorted backwards, so that turning it round keeps equal elements in their order.
    order = (len(row) - 1 - np.argsort(ranked[::-1], kind="stable"))[::-1]
    shown = "f" if row.dtype.kind == "f" else "d"
    return [
        f"{row[index]:{shown}}:{index}" + (f":{labels[index]}" if index < len(labels) else "")
        for index in order[:count].tolist()
    ]
