"""Running one batch on a Python model."""

from collections.abc import Generator, Sequence

from penstock.tensors import Array
from penstock.workers.run import encoding
from penstock.workers.run.execution import Arrays, CodeExecution
from penstock.workers.run.tensor import Tensor
from penstock.workers.run.work import Work, custom_parameters
from penstock.workers.runtimes.python.runtime import PythonRuntime


class PythonExecution(CodeExecution[PythonRuntime]):
    """Gives the model the parameters of its requests as well."""

    def _warm_up(self, inputs: Arrays) -> str:
        """Answer a request; its outputs are held against them."""
        if self._runtime.decoupled:
            for _ in self._runtime.stream(inputs):
                pass
        else:
            self._runtime.run(inputs, self._produces)
        return ""

    def _compute(self, inputs: Arrays, batch: Sequence[Work]) -> dict[str, Array]:
        # A batch's requests have the same (decoding.py).
        return self._runtime.run(inputs, self._produces, custom_parameters(batch[0].head))

    def stream(self, work: Work) -> Generator[dict[str, Tensor], None, None]:
        """Each response of a decoupled model to one request, as it is made.

        Everything runs on the thread that asks for the next response, or closes the generator.
        """
        given = work.tensors
        inputs = {name: given[name].array() for name in self._consumes if name in given}
        if self._reshaping is not None:
            inputs = self._reshaping.inward(inputs)
        for arrays in self._runtime.stream(inputs, custom_parameters(work.head)):
            seen = arrays if self._reshaping is None else self._reshaping.outward(arrays)
            yield encoding.whole_results(seen, self._datatypes)
