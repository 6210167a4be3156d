"""Running one batch on a Python model."""

from collections.abc import Generator, Sequence

from penstock.tensors import Array
from penstock.workers.run import encoding
from penstock.workers.run.execution import Arrays, Execution
from penstock.workers.run.reshaping import Reshaping
from penstock.workers.run.tensor import Tensor
from penstock.workers.run.work import Work, custom_parameters
from penstock.workers.runtimes.python.runtime import PythonRuntime


class PythonExecution(Execution):
    """Gives the model the parameters of its requests as well."""

    def __init__(
        self,
        runtime: PythonRuntime,
        consumes: Sequence[str],
        produces: Sequence[str],
        *,
        batched: bool,
        reshaping: Reshaping | None = None,
    ) -> None:
        super().__init__(runtime, consumes, produces, batched=batched, reshaping=reshaping)
        self._model = runtime

    def warm_up(self, rows: int) -> tuple[str, str]:
        """Nothing: nobody knows what its code would make of what is made up."""
        del rows
        return "", ""

    def try_device(self) -> None:
        """Nothing: what its code raises says nothing of the device."""

    def warm_up_on(self, sample: Arrays) -> str:
        """Answer a request with the inputs *sample*; its outputs are held against them."""
        inputs = self._reshaping.inward(sample) if self._reshaping else sample
        if self._model.decoupled:
            for _ in self._model.stream(inputs):
                pass
        else:
            self._model.run(inputs, self._produces)
        return ""

    def _compute(self, inputs: Arrays, batch: Sequence[Work]) -> dict[str, Array]:
        # A batch's requests have the same (decoding.py).
        return self._model.run(inputs, self._produces, custom_parameters(batch[0].head))

    def stream(self, work: Work) -> Generator[dict[str, Tensor], None, None]:
        """Each response of a decoupled model to one request, as it is made.

        Everything runs on the thread that asks for the next response, or closes the generator.
        """
        given = work.tensors
        inputs = {name: given[name].array() for name in self._consumes if name in given}
        if self._reshaping is not None:
            inputs = self._reshaping.inward(inputs)
        for arrays in self._model.stream(inputs, custom_parameters(work.head)):
            seen = arrays if self._reshaping is None else self._reshaping.outward(arrays)
            yield encoding.whole_results(seen, self._datatypes)
