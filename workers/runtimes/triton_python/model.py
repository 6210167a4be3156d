"""A model of Triton's Python contract: its class made, initialized, and called."""

import asyncio
import importlib
import inspect
import json
import sys
import threading
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

import structlog

from penstock.errors import ArtifactUnusable, InvalidConfiguration, PenstockError
from penstock.models.config.model_config import PYTHON, parse_json
from penstock.models.config.python_models import check_models_of_code
from penstock.protos import model_config_pb2 as config_pb
from penstock.workers.runtimes.python.code import TRITONS_CLASS, raised
from penstock.workers.runtimes.triton_python import backend_utils
from penstock.workers.runtimes.triton_python.environment import Environment, enter
from penstock.workers.runtimes.triton_python.errors import raised_text
from penstock.workers.runtimes.triton_python.model_config import ModelConfig, as_json
from penstock.workers.runtimes.triton_python.requests import InferenceRequest
from penstock.workers.runtimes.triton_python.responses import InferenceResponse

log = structlog.get_logger()

_AUTO: Final = "auto_complete_config"
_COMPLETED: Final = frozenset(
    {"input", "output", "max_batch_size", "dynamic_batching", "model_transaction_policy"}
)
"""What Triton, too, takes from a configuration that code has completed."""


class TritonModelFailed(PenstockError):
    """The model raised something, or did not return what Triton asks for."""


class TritonModel:
    """One instance of the class.

    Attributes:
        environment: what the model finds around it.
        instance_name: as Triton calls it: "words_0_0", or "words_0" without an `instance_group`.
    """

    def __init__(self, artifact: Path, cls: type, environment: Environment) -> None:
        self._artifact = artifact
        self._class = cls
        self.environment = environment
        self._loop: asyncio.AbstractEventLoop | None = None
        self._model: Any = None
        self._logged = ""
        self.instance_name = ""

    @classmethod
    def imported(cls, artifact: Path, model: str, version: int) -> "TritonModel":
        """The class in *artifact*, not made yet.

        Raises:
            ArtifactUnusable: the file cannot be imported, or its class cannot be called.
        """
        backend_utils.register()
        environment = Environment(artifact.parent.parent, artifact.parent, model, version)
        enter(environment)
        found = getattr(_module(artifact), TRITONS_CLASS, None)
        if not isinstance(found, type):
            raise ArtifactUnusable(f"{artifact.name} must have a class {TRITONS_CLASS}")
        if not callable(getattr(found, "execute", None)):
            raise ArtifactUnusable(f"{artifact.name}: {TRITONS_CLASS} must have a method execute")
        return cls(artifact, found, environment)

    def completed(self, config: config_pb.ModelConfig) -> config_pb.ModelConfig:
        """*config*, with what the model's own code adds to it.

        Raises:
            ArtifactUnusable: the code raises, or makes something of it that cannot be.
        """
        complete = getattr(self._class, _AUTO, None)
        if complete is None:
            return config
        try:
            made = complete(ModelConfig(as_json(config)))
        except (Exception, SystemExit) as error:
            raise self._unusable(_AUTO, error) from error
        if not isinstance(made, ModelConfig):
            raise ArtifactUnusable(
                f"{_AUTO} function in model '{config.name}' must return a valid pb.ModelConfig "
                "object."
            )
        source = f"{self._artifact.name}: {_AUTO}"
        try:
            found = _merged(config, parse_json(json.dumps(made.as_dict()), source))
            check_models_of_code(found, (PYTHON,), source)
        except (InvalidConfiguration, TypeError) as error:
            raise ArtifactUnusable(str(error)) from error
        return found

    def initialize(self, arguments: Mapping[str, str]) -> None:
        """Make the instance, and let it get ready.

        Args:
            arguments: Triton's, all of them text.

        Raises:
            ArtifactUnusable: it raises.
        """
        self.instance_name = arguments["model_instance_name"]
        try:
            self._model = self._class()
            if hasattr(self._model, "initialize"):
                self._model.initialize(dict(arguments))
        except (Exception, SystemExit) as error:
            raise self._unusable("initialize", error) from error
        self.environment.takes_calls = True

    def execute(self, requests: Sequence[InferenceRequest]) -> list[InferenceResponse | None]:
        """Answer *requests* together; None where the response was sent, or will be.

        Raises:
            TritonModelFailed: in Triton's words; it failed for all of them.
        """
        try:
            returned = self._model.execute(list(requests))
            if inspect.iscoroutine(returned):
                returned = asyncio.run(returned)
        except (Exception, SystemExit) as error:
            raise self._failure(error) from error
        if returned is None:
            return [None] * len(requests)
        if not isinstance(returned, list):
            raise self._failed(
                f"Expected a list in the execute return, found type '{type(returned)}'."
            )
        if len(returned) != len(requests):
            raise self._failed(
                "Number of InferenceResponse objects do not match the number of InferenceRequest "
                f"objects. InferenceRequest(s) size is:{len(requests)}, and InferenceResponse(s) "
                f"size is:{len(returned)}\n"
            )
        for response in returned:
            if response is not None and not isinstance(response, InferenceResponse):
                raise self._failed(
                    "Expected an 'InferenceResponse' object in the execute function return list, "
                    f"found type '{type(response)}'."
                )
        return returned

    def begin(self, request: InferenceRequest) -> "Future[None] | None":
        """Let a decoupled model begin to answer; its responses come through the request's sender.

        Returns:
            what is done when an ``async def execute`` has ended; None for a plain one, which has.

        Raises:
            TritonModelFailed: as `execute`.
        """
        try:
            returned = self._model.execute([request])
        except (Exception, SystemExit) as error:
            raise self._failure(error) from error
        if inspect.iscoroutine(returned):
            return asyncio.run_coroutine_threadsafe(self._awaited(returned), self._own_loop())
        self._check_nothing(returned)
        return None

    async def _awaited(self, returned: Coroutine[Any, Any, object]) -> None:
        try:
            result = await returned
        except (Exception, SystemExit) as error:
            raise self._failure(error) from error
        self._check_nothing(result)

    def _check_nothing(self, returned: object) -> None:
        if returned is not None:
            raise self._failed(
                f"Python model '{self.instance_name}' is using the decoupled mode and the execute "
                "function must return None."
            )

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of coroutines that go on while others begin; on a thread of its own."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="model", daemon=True).start()
        return self._loop

    def finalize(self) -> None:
        """Let the model end in order; what it raises is only logged."""
        self.environment.takes_calls = False
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
        if not hasattr(self._model, "finalize"):
            return
        try:
            self._model.finalize()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the worker ends in any case
            log.warning("finalize failed", reason=raised(error, self._artifact))

    def _failure(self, error: BaseException) -> TritonModelFailed:
        what = raised(error, self._artifact)
        if what != self._logged:
            self._logged = what
            log.warning("the model's code failed", reason=what, exc_info=error)
        return self._failed(raised_text(error, __file__))

    def _failed(self, message: str) -> TritonModelFailed:
        return TritonModelFailed(
            f"Failed to process the request(s) for model '{self.instance_name}', message: {message}"
        )

    def _unusable(self, method: str, error: BaseException) -> ArtifactUnusable:
        text = raised(error, self._artifact)
        return ArtifactUnusable(f"{self._artifact.name}: {TRITONS_CLASS}.{method} {text}")


def _merged(config: config_pb.ModelConfig, made: config_pb.ModelConfig) -> config_pb.ModelConfig:
    """*config* with what code may complete of it, as *made* has that; the rest is its owner's."""
    found, completed = config_pb.ModelConfig(), config_pb.ModelConfig()
    found.CopyFrom(config)
    completed.CopyFrom(made)
    for field in config_pb.ModelConfig.DESCRIPTOR.fields:
        (found if field.name in _COMPLETED else completed).ClearField(field.name)
    found.MergeFrom(completed)
    return found


def _module(artifact: Path) -> Any:
    """The code of *artifact*, imported as Triton does: as a module of its version's folder."""
    # The repository may be read-only, and belongs to somebody else in any case.
    sys.dont_write_bytecode = True
    sys.path[:0] = [str(artifact.parent.parent), str(artifact.parent)]
    importlib.invalidate_caches()
    # Where several models are looked at in one process, their folders have the same name.
    folder = artifact.parent.name
    for name in [one for one in sys.modules if one == folder or one.startswith(f"{folder}.")]:
        del sys.modules[name]
    try:
        return importlib.import_module(f"{folder}.{artifact.stem}")
    except (Exception, SystemExit) as error:
        raise ArtifactUnusable(
            f"{artifact.name} cannot be imported: it {raised(error, artifact)}"
        ) from error
