"""What is wrong with an artifact that cannot be loaded, and what to do about it.

Told by the first bytes of its file, and by what the runtime says. Each cause has a cure of its own;
what is not known here is cure in the runtime's words.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

_HEAD_BYTES: Final = 512
_ANEW: Final = "export the model to this format"


class _Kind(NamedTuple):
    """A kind of file that is often found in the place of an artifact."""

    pattern: re.Pattern[bytes]
    what: str
    cure: str


_KINDS: Final = tuple(
    _Kind(re.compile(pattern, re.DOTALL | re.IGNORECASE), what, cure)
    for pattern, what, cure in (
        (
            rb"version https://git-lfs\.",
            "a pointer of Git LFS, which stands for the file",
            "run 'git lfs pull' where it was cloned, and copy it again",
        ),
        (
            rb"\s*(<!doctype html|<html)",
            "a web page",
            "download the file itself: by 'resolve' at Hugging Face, by 'raw' at GitHub",
        ),
        (rb"\s*<\?xml", "XML, as storage answers in place of a file", "download it again"),
        (rb"\s*[{\[]", "JSON or other text", "put the model itself there"),
        (rb"\x1f\x8b|\xfd7zXZ|BZh|\x28\xb5\x2f\xfd", "compressed", "decompress it"),
        (rb"\x89HDF", "HDF5, as Keras writes it", "convert it with tf2onnx"),
        (rb".{4}TFL3", "a TensorFlow Lite model", "convert it with tf2onnx --tflite"),
        (rb".{7}\x00\{", "safetensors, which are weights without a model", _ANEW),
        (
            rb"\x80[\x02-\x05]",
            "a pickle, which is never loaded",
            f"{_ANEW} (skl2onnx for scikit-learn, torch.onnx.export or torch.export for PyTorch)",
        ),
        (rb"ORTM|.{4}ORTM", "in ONNX Runtime's own format", "keep the .onnx that it was made of"),
    )
)
_ZIP: Final = _Kind(
    re.compile(rb"PK\x03\x04"),
    "a zip archive, as torch.save and torch.export.save write it",
    "export with torch.onnx.export, or name a program of torch.export model.pt2",
)

_Cure = Callable[[re.Match[str]], str]

_BY_TEXT: Final[tuple[tuple[re.Pattern[str], _Cure], ...]] = tuple(
    (re.compile(pattern, re.DOTALL), cure)
    for pattern, cure in (
        (
            r"Opset (\d+) is under development.*domain (\S+) is till opset (\d+)",
            lambda m: (
                f"it is of opset {m[1]} of {m[2]}, and this one knows opsets up to {m[3]}: export "
                f"it for opset {m[3]} (opset_version= of torch.onnx.export, target_opset= of "
                "skl2onnx and tf2onnx), or install a newer onnxruntime"
            ),
        ),
        (
            r"Unsupported model IR version: (\d+), max supported IR version: (\d+)",
            lambda m: (
                f"it is of IR version {m[1]}, and this one reads versions up to {m[2]}: set its "
                f"ir_version to {m[2]} with the onnx package, export it with an older onnx, or "
                "install a newer onnxruntime"
            ),
        ),
        (
            r"(\S+?):(\w+)\(-?\d+\) is not a registered function/op",
            lambda m: (
                f"its operator {m[2]} is of domain {m[1]}, which is not part of ONNX Runtime; "
                "libraries of custom operators are code, and are not loaded: export the model "
                "without it, or do that step in a Python model beside it"
            ),
        ),
        (
            r"No Op registered for (\w+) with domain_version of (\d+)",
            lambda m: (
                f"opset {m[2]}, which it is for, has no operator {m[1]}: export it for another "
                "opset, or without that operator"
            ),
        ),
        (
            r"Failed to construct locale with name:([^:]*):",
            lambda m: (
                f"it needs the locale {m[1]}, which this machine does not have: install it "
                f"(Debian: apt-get install locales, then localedef -i {m[1].partition('.')[0]} -f "
                f"UTF-8 {m[1]})"
            ),
        ),
        (
            r"(?:Could not find an implementation|Failed to find kernel) for (\w+)\((\d+)\)",
            lambda m: (
                f"there is no kernel here for its operator {m[1]} (opset {m[2]}) with the "
                "datatypes that the model gives it: cast its inputs, to FP32 for most, or export "
                "the model for another opset or without it"
            ),
        ),
        (
            r"This is an invalid model\. .*, Error (.*)",
            lambda m: f"a node of it does not fit its operator ({m[1]}): export the model anew",
        ),
        (
            r"Protobuf parsing failed",
            lambda _: "it is damaged, cut off, or no ONNX file: copy it again, or export it anew",
        ),
        (
            r"No graph was found in the protobuf",
            lambda _: "it holds no graph: copy it again, or export it anew",
        ),
        (
            r".*(?i:external data|external initializer|file size|file_size|no such file).*",
            lambda m: f"{m[0]}: copy it again with all files that belong to it",
        ),
    )
)

_CARRIES: Final[Mapping[str, str]] = {
    r"seq\(map\(": (
        "which a ZipMap operator makes: export the classifier with zipmap=False (skl2onnx: "
        "options={'zipmap': False}; onnxmltools: zipmap=False), which gives plain probabilities"
    ),
    r"map\(": "a dictionary: export the model without it, with plain tensors",
    r"seq\(": "a list of tensors: join them with ConcatFromSequence, or export plain tensors",
    r"optional\(": "which may be none: export the model with plain tensors",
    r"sparse_tensor\(": "which is sparse: export the model with plain tensors",
    r"tensor\(u?int[24]\)|tensor\(float[48]": "which has no datatype there: cast it in the model",
    r"tensor\(complex": "which has no datatype there: split it into real and imaginary parts",
}
"""What a tensor's type begins with -> why it cannot travel, and what to do."""


def foreign(artifact: Path) -> str:
    """What the file at *artifact* is instead of one, and what to do; "" if that cannot be seen."""
    try:
        with artifact.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return ""
    kinds = _KINDS if artifact.suffix == ".pt2" else (*_KINDS, _ZIP)
    found = next((kind for kind in kinds if kind.pattern.match(head)), None)
    return "" if found is None else f"it is {found.what}: {found.cure}"


def explained(text: str) -> str:
    """What a runtime says of an artifact that it does not load, with what to do about it."""
    for pattern, cure in _BY_TEXT:
        matched = pattern.search(text)
        if matched:
            return cure(matched)
    return f"{text}; onnxruntime.InferenceSession says the same: export the model anew"


def uncarried(kind: str) -> str:
    """Why the protocol cannot carry a tensor of ONNX Runtime's type *kind*, and what to do."""
    for pattern, cure in _CARRIES.items():
        if re.match(pattern, kind):
            return cure
    return "export the model with plain tensors"
