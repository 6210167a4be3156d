"""The files of a folder that have its weights; pickles are refused by name."""

from pathlib import Path
from typing import Final

from penstock.exporting.checkpoints.folder_config import JsonFile
from penstock.exporting.errors import CannotExport

_PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def refuse_pickle(path: Path) -> None:
    """Raise what is to be said of weights that are a pickle, if *path* is one."""
    if path.suffix in _PICKLES:
        raise CannotExport(
            f"{path.name} is a pickle: opening it would run what is inside; save the weights as "
            "safetensors (save_pretrained does)"
        )


def weight_files(folder: Path) -> list[Path]:
    """Those of *folder*.

    Raises:
        CannotExport: there are none, or pickles.
    """
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if index.is_file():
        names = JsonFile.read(index).fields.get("weight_map")
        if not isinstance(names, dict) or not all(isinstance(n, str) for n in names.values()):
            raise CannotExport(f"{index.name} has no weight_map: copy or download it again")
        for name in names.values():
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise CannotExport(f"{index.name} names {name!r}, which is no file of the folder")
        return [folder / name for name in sorted(set(names.values()))]
    for path in sorted(folder.iterdir()):
        refuse_pickle(path)
    raise CannotExport(f"{folder} has no model.safetensors: give a folder with weights in it")
