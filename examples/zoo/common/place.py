"""Where the things of one kind lie: its weights, and the repository that is served."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

ZOO = Path(__file__).parents[1]

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Place:
    """One kind's folder.

    Attributes:
        kind: its name, which is that of its folder in `examples/zoo`.
        folder: holds ``weights.npz`` and the repository ``models``.
        quick: a few steps of training are enough; nobody asks how good it is.
    """

    kind: str
    folder: Path
    quick: bool = False

    @classmethod
    def shipped(cls, kind: str) -> "Place":
        """What the example brings along: its committed weights and artifacts."""
        return cls(kind, ZOO / kind)

    @property
    def models(self) -> Path:
        """The model repository."""
        return self.folder / "models"

    def artifact(self, model: str, version: int = 1) -> Path:
        """Where the ONNX file of a model's version lies; its folder exists."""
        path = self.models / model / str(version) / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def prepare(self) -> None:
        """Lay out a repository as the example has it, less the artifacts that training makes."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(
            ZOO / self.kind / "models",
            self.models,
            ignore=shutil.ignore_patterns("*.onnx", "__pycache__"),
        )

    def keep(self) -> None:
        """Copy weights and artifacts into the example, to be committed."""
        shutil.copytree(self.folder, ZOO / self.kind, dirs_exist_ok=True)

    def save(self, arrays: Mapping[str, Array]) -> None:
        """Write the weights; what training found is a part of them."""
        np.savez_compressed(self.folder / "weights.npz", **arrays)  # type: ignore[arg-type]

    def load(self) -> dict[str, Array]:
        """The weights by name."""
        with np.load(self.folder / "weights.npz") as arrays:
            return dict(arrays)

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes of the weights, and of all that the repository holds."""
        weights = self.folder / "weights.npz"
        served = sum(path.stat().st_size for path in self.models.rglob("*") if path.is_file())
        return (weights.stat().st_size if weights.exists() else 0), served
