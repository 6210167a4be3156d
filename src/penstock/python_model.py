"""Python models: what a ``model.py`` in a model repository holds, and what it is given.

::

    class Model:
        def load(self, context): ...                  # optional
        def execute(self, inputs, parameters): ...    # -> {output name: array}
        def unload(self): ...                         # optional

`PythonModel` says what each promises. It need not be imported: any class named ``Model`` will do.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from penstock.tensors import Array

Parameters = Mapping[str, bool | int | float | str]


@dataclass(frozen=True, slots=True)
class Context:
    """Where a Python model finds itself when it is loaded.

    Attributes:
        model, version: whose it is.
        parameters: `parameters` of config.pbtxt, by key.
        folder: the version's directory; files beside ``model.py`` are there. It may be read-only.
        device: "cpu:0", "cuda:0" ...: where it was placed.
        threads: how many threads it should compute with.
    """

    model: str
    version: int
    parameters: Mapping[str, str]
    folder: Path
    device: str
    threads: int


class PythonModel(Protocol):
    """What the class ``Model`` of a ``model.py`` has. All calls come on one thread."""

    def load(self, context: Context) -> None:
        """Get ready; called once, before anything else. May be left out."""
        ...

    def execute(
        self, inputs: Mapping[str, Array], parameters: Parameters
    ) -> Mapping[str, Array] | Iterator[Mapping[str, Array]]:
        """Answer one batch.

        Where config.pbtxt has `max_batch_size`, the first dimension is the batch's, and must be in
        each output, too. What is computed may be computed again, after a worker's death.

        Args:
            inputs: read-only arrays by name, of the dtypes in config.pbtxt; BYTES are object
                arrays of bytes, BF16 is uint16 with the upper half of a float32.
            parameters: the request's own. Requests that differ in them never share a batch.

        Returns:
            each output by name; BYTES may hold bytes or str. A decoupled model yields any number
            of these instead, each one response.

        Raises:
            penstock.errors.InvalidRequest: the caller is at fault: INVALID_ARGUMENT, with its text.
            Exception: anything else fails the request as INTERNAL; the model stays.
        """
        ...

    def unload(self) -> None:
        """Called once when the worker ends in order. May be left out."""
        ...
