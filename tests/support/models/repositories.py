"""Model repositories: of files that are no models, where nobody reads them, and of the digits."""

import shutil
from pathlib import Path

DIGITS = Path(__file__).parents[3] / "examples" / "digits" / "models" / "digits"


def put(root, files):
    """Write *files*, path below *root* -> content, and return *root*."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def artifacts(*names):
    """Files with some content each: every name its own."""
    return {name: f"content of {name}" for name in names}


def add_digits(root, name, *versions, edited=str):
    """The digits as a model of *name*, of these *versions*; its entry in the repository *root*.

    Args:
        edited: makes the text of its config.pbtxt of the usual one.
    """
    made = root.parent / name
    made.mkdir()
    for version in versions:
        shutil.copytree(DIGITS / version, made / version)
    config = (DIGITS / "config.pbtxt").read_text()
    (made / "config.pbtxt").write_text(edited(config.replace('"digits"', f'"{name}"')))
    shutil.copy(DIGITS / "labels.txt", made)
    return made.rename(root / name)


def touch(artifact):
    """Change the content of an artifact, and not what it computes."""
    import onnx

    model = onnx.load(artifact)
    model.doc_string += "changed "
    onnx.save(model, artifact)
