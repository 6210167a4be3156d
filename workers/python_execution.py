"""Running one batch on a Python model."""

from collections.abc import Sequence

from penstock.tensors import Array
from penstock.workers.codec import Work, custom_parameters
from penstock.workers.execution import Arrays, Execution
from penstock.workers.reshaping import Reshaping
from penstock.workers.runtimes.python_runtime import PythonRuntime


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

    def warm_up(self, rows: int) -> None:
        """Nothing: nobody knows what its code would make of zeros."""

    def _compute(self, inputs: Arrays, batch: Sequence[Work]) -> dict[str, Array]:
        # A batch's requests have the same (codec.decode).
        return self._model.run(inputs, self._produces, custom_parameters(batch[0].head))
