"""Python models: a class in the model repository, run on numpy arrays (`penstock.python_model`).

A node runs such code only where its owner allows it. What the code returns is held against
config.pbtxt before anybody else sees it.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NoReturn, Self

import structlog

from penstock.errors import ArtifactUnusable, PenstockError
from penstock.models.config.python_models import is_decoupled
from penstock.protos import cluster_pb2
from penstock.protos import model_config_pb2 as config_pb
from penstock.python_model import Context, Parameters
from penstock.tensors import Array
from penstock.workers.runtimes.python.code import CLASS, model_of, raised
from penstock.workers.runtimes.python.results import WrongResult, checked
from penstock.workers.runtimes.python.signature import signature_of
from penstock.workers.runtimes.runtime import DeviceRef, Dimensions

log = structlog.get_logger()

_NO_PARAMETERS: Final[Parameters] = MappingProxyType({})


class PythonModelFailed(PenstockError):
    """The model's code raised something."""


class PythonRuntime:
    """One instance of a Python model's class.

    Attributes:
        decoupled: it answers through `stream`, not `run`.
    """

    # Its code may hold what belongs to the thread that loaded it.
    any_thread = False
    fixed_work = False
    dimensions: Mapping[str, Dimensions] = MappingProxyType({})

    def __init__(
        self,
        model: Any,
        signature: cluster_pb2.Signature,
        artifact: Path,
        config: config_pb.ModelConfig,
    ) -> None:
        self._model = model
        self.signature = signature
        self._artifact = artifact
        self._batched = config.max_batch_size > 0
        self.decoupled = is_decoupled(config)
        self._outputs = {spec.name: spec for spec in signature.outputs}
        self._logged = ""

    @classmethod
    def open(cls, artifact: Path, device: DeviceRef, version: cluster_pb2.ModelVersion) -> Self:
        """Import the code, make its class and load it; see `open_runtime`."""
        config = config_pb.ModelConfig.FromString(version.config)
        model = model_of(artifact, decoupled=is_decoupled(config))
        context = Context(
            model=version.model,
            version=version.version,
            parameters={key: value.string_value for key, value in config.parameters.items()},
            folder=artifact.parent,
            device=f"{device.kind}:{device.index}",
            threads=device.threads,
        )
        if hasattr(model, "load"):
            try:
                model.load(context)
            except (Exception, SystemExit) as error:
                raise ArtifactUnusable(
                    f"{artifact.name}: {CLASS}.load {raised(error, artifact)}"
                ) from error
        size = sum(file.stat().st_size for file in artifact.parent.rglob("*") if file.is_file())
        return cls(model, signature_of(config, size, "config.pbtxt"), artifact, config)

    def run(
        self,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        parameters: Parameters = _NO_PARAMETERS,
    ) -> dict[str, Array]:
        """Run once; see `Runtime.run`.

        Raises:
            WrongResult: it returned what config.pbtxt does not say.
            PythonModelFailed: it raised something.
            PenstockError: which it raised on purpose.
        """
        found = self._checked(self._execute(inputs, parameters), self._rows(inputs))
        return {name: found[name] for name in outputs}

    def stream(
        self, inputs: Mapping[str, Array], parameters: Parameters = _NO_PARAMETERS
    ) -> Iterator[dict[str, Array]]:
        """Run once, and yield each response of a decoupled model as its code yields it.

        The code runs while the next response is asked for, and is closed with the iterator.

        Raises:
            as `run`.
        """
        responses = self._execute(inputs, parameters)
        if isinstance(responses, Mapping) or not isinstance(responses, Iterable):
            self._refuse(f"it returned a {type(responses).__name__}; a decoupled model must yield")
        iterator = iter(responses)
        try:
            while True:
                try:
                    response = next(iterator)
                except StopIteration:
                    return
                except (Exception, SystemExit) as error:
                    raise self._failure(error) from error
                yield self._checked(response, None)
        finally:
            self._end(iterator)

    def _execute(self, inputs: Mapping[str, Array], parameters: Parameters) -> object:
        for array in inputs.values():
            array.flags.writeable = False
        try:
            results: object = self._model.execute(inputs, parameters)
        except (Exception, SystemExit) as error:
            raise self._failure(error) from error
        return results

    def _rows(self, inputs: Mapping[str, Array]) -> int | None:
        first = next(iter(inputs.values()), None)  # none where all that are optional were left out
        return first.shape[0] if self._batched and first is not None else None

    def _checked(self, results: object, rows: int | None) -> dict[str, Array]:
        try:
            return checked(results, self._outputs, rows)
        except WrongResult as error:
            self._refuse(str(error))

    def _refuse(self, why: str) -> NoReturn:
        raise WrongResult(f"{self._artifact.name}: {CLASS}.execute: {why}")

    def _end(self, iterator: Iterator[object]) -> None:
        """Close a generator of the model's, whose clean-up may fail as well."""
        if not isinstance(iterator, Generator):
            return
        try:
            iterator.close()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - nobody waits for it any more
            log.warning("a response was not ended in order", reason=raised(error, self._artifact))

    def close(self) -> None:
        """Let the model end in order; what it raises is only told."""
        if not hasattr(self._model, "unload"):
            return
        try:
            self._model.unload()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the worker ends in any case
            log.warning("unload failed", reason=raised(error, self._artifact))

    def _failure(self, error: BaseException) -> PenstockError:
        """What the request is told: the text of a refusal, and where the code failed otherwise."""
        if isinstance(error, PenstockError):
            return error
        what = f"{CLASS}.execute {raised(error, self._artifact)}"
        if what != self._logged:
            self._logged = what
            log.warning("the model's code failed", reason=what, exc_info=error)
        return PythonModelFailed(f"{self._artifact.name}: {what}")
