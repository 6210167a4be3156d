"""Embeddings of texts or tokens: as few requests to their model as its batches allow."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.errors import Code, InvalidRequest, PenstockError
from penstock.gateway.requests.call import Call
from penstock.gateway.requests.infer import Inference
from penstock.models.embeddings import PADDING, Embedder
from penstock.protos import grpc_service_pb2 as pb
from penstock.tensors import from_raw, pack_bytes

Rows = Sequence[str] | Sequence[Sequence[int]]
Vectors = npt.NDArray[np.float32]

AT_ONCE: Final = 4
"""Requests to the model that one of a client has under way."""

MOST_CELLS: Final = 1 << 18
"""Tokens of one request to the model, those that fill it up counted."""


class NoVector(PenstockError):
    """The model has made something that is no vector of its text."""

    code = Code.INTERNAL


class Asked(NamedTuple):
    """A model, and how it is asked.

    Attributes:
        version: of it, so that all vectors of a request are of one.
        call: whoever asks; its deadline is that of all.
    """

    model: str
    version: int
    embedder: Embedder
    call: Call


class Embedded(NamedTuple):
    """What became of the rows.

    Attributes:
        vectors: float32[rows, size].
        tokens: that all rows had together; None where the model does not say.
    """

    vectors: Vectors
    tokens: int | None


async def model_of(inference: Inference, model: str, call: Call) -> Asked:
    """The *model*, once it is loaded.

    Raises:
        InvalidRequest: it makes no embeddings.
        PenstockError: there is no such model for the caller.
    """
    probe = pb.ModelInferRequest(model_name=model).SerializeToString()
    found = await inference.read(probe, call)
    embedder = found.served.deployment.embedder
    if embedder is None:
        raise InvalidRequest(
            f"'{model}' makes no embeddings: ask another model, or say in its config.pbtxt which "
            'output has them: parameters { key: "embeddings" value { string_value: "OUTPUT" } }'
        )
    return Asked(model, found.served.id.version, embedder, found.call)


async def embed(inference: Inference, asked: Asked, rows: Rows) -> Embedded:
    """The vectors of *rows*, texts or lists of tokens, one at least, which the model takes.

    Raises:
        NoVector: the model has made none of a row.
        PenstockError: how one of the requests to the model has ended.
    """
    room = asyncio.Semaphore(AT_ONCE)

    async def one(begin: int, end: int) -> Embedded:
        async with room:
            request = request_for(asked, rows[begin:end])
            reply = await inference.infer(request.SerializeToString(), asked.call)
        return _embedded(reply, asked.embedder, begin, end)

    try:
        async with asyncio.TaskGroup() as tasks:
            parts = [tasks.create_task(one(*part)) for part in parts_of(rows, asked.embedder)]
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    found = [part.result() for part in parts]
    counts = [part.tokens for part in found if part.tokens is not None]
    return Embedded(
        np.concatenate([part.vectors for part in found]),
        sum(counts) if len(counts) == len(found) else None,
    )


def parts_of(rows: Rows, embedder: Embedder) -> Iterator[tuple[int, int]]:
    """Beginning and end of each request to the model; each has as many rows as there is room for.

    Texts are as long as they are; tokens are filled up to the longest row.
    """
    begin, longest = 0, 0
    for at, row in enumerate(rows):
        length = 0 if isinstance(row, str) else len(row)
        count = at - begin
        full = count == embedder.most_rows or max(longest, length) * (count + 1) > MOST_CELLS
        if count and full:
            yield begin, at
            begin, longest = at, 0
        longest = max(longest, length)
    yield begin, len(rows)


def request_for(asked: Asked, rows: Rows) -> pb.ModelInferRequest:
    """One request to the model, for all of *rows*."""
    embedder = asked.embedder
    request = pb.ModelInferRequest(model_name=asked.model, model_version=str(asked.version))
    texts = [row for row in rows if isinstance(row, str)]
    if texts:
        raw = pack_bytes(texts)
        request.inputs.add(name=embedder.texts, datatype="BYTES", shape=[len(texts), 1])
    else:
        longest = max(map(len, rows))
        cells = np.full((len(rows), longest), PADDING, "<i8")
        for at, row in enumerate(rows):
            cells[at, : len(row)] = row
        raw = cells.tobytes()
        request.inputs.add(name=embedder.tokens, datatype="INT64", shape=cells.shape)
    request.raw_input_contents.append(raw)
    request.outputs.add(name=embedder.output)
    if embedder.counts is not None:
        request.outputs.add(name=embedder.counts)
    return request


def _embedded(reply: bytes, embedder: Embedder, begin: int, end: int) -> Embedded:
    response = pb.ModelInferResponse.FromString(reply)
    arrays = {
        output.name: from_raw(raw, output.datatype, output.shape)
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }
    vectors: Vectors = arrays[embedder.output].reshape(end - begin, embedder.size)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        at = begin + int(np.argmin(finite))
        raise NoVector(f"the model's vector of input {at} has numbers that are none (NaN, inf)")
    if embedder.counts is None:
        return Embedded(vectors, None)
    return Embedded(vectors, int(arrays[embedder.counts].sum()))
