"""Train the digits network and export it as four versions of one model.

    python examples/digits/train.py                     train; write versions 1 and 2, the images
    python examples/digits/train.py --torch-versions D  no training: a repository with all four
                                                        versions in the folder D

Version 1 is the whole network as ONNX, 2 two ONNX stages, 3 two torch.export stages, 4 a stage
of each kind. Needs the extras ``onnx`` and ``torch``; training also scikit-learn, onnxscript and
Pillow.
"""

import argparse
import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from network import Digits, trained
from torch import Tensor, nn

from penstock.sharding.pipeline import Order, shard_onnx, shard_torch
from penstock.sharding.samples import parse_inputs
from penstock.workers.runtimes.pt2_signature import EXTRA_FILE, TensorSignature, write_extra

HERE = Path(__file__).parent
MODEL = HERE / "models" / "digits"
OUTPUTS = ["probabilities", "digit"]
HELD_OUT = 360
SEED = 7

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def main() -> None:
    """Train, or only export again."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="copyreg")  # torch's own
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-versions", type=Path, metavar="DIR", dest="directory")
    directory = parser.parse_args().directory
    if directory is not None:
        write_all_versions(directory)
        return
    images, labels, heldout_images, heldout_labels = read_digits()
    network = train(images, labels)
    print(f"accuracy on held-out images: {accuracy(network, heldout_images, heldout_labels):.2%}")
    write_onnx_versions(network)
    write_images(heldout_images, heldout_labels)


def read_digits() -> tuple[Floats, Labels, Floats, Labels]:
    """The 1797 images in two parts, each with its share of every digit; grey values 0 to 1."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    seen, heldout, seen_labels, heldout_labels = train_test_split(
        images,
        digits.target.astype(np.int64),
        test_size=HELD_OUT,
        stratify=digits.target,
        random_state=SEED,
    )
    return seen, seen_labels, heldout, heldout_labels


def train(images: Floats, labels: Labels, epochs: int = 40) -> Digits:
    """A network trained on *images*, each shifted by up to one pixel in every epoch."""
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(mode=True)
    network = Digits()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-3)
    batches = -(-len(images) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=epochs * batches)
    pixels, targets = torch.from_numpy(images), torch.from_numpy(labels)
    for _ in range(epochs):
        for batch in torch.randperm(len(pixels)).split(64):
            optimizer.zero_grad()
            logits = network.answer.naming(network.strokes(_shifted(pixels[batch])))
            nn.functional.cross_entropy(logits, targets[batch], label_smoothing=0.05).backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def _shifted(images: Tensor) -> Tensor:
    down, right = (int(step) for step in torch.randint(-1, 2, (2,)))
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    return padded[:, :, 1 + down : 9 + down, 1 + right : 9 + right]


def accuracy(network: Digits, images: Floats, labels: Labels) -> float:
    """The share of *images* that are named rightly."""
    with torch.no_grad():
        digits = network(torch.from_numpy(images))["digit"].numpy()[:, 0]
    return float(np.mean(digits == labels))


def write_onnx_versions(network: Digits) -> None:
    """Versions 1 and 2: the whole network, and two stages cut from it."""
    whole = MODEL / "1" / "model.onnx"
    export_onnx(network, whole, "image", (1, 8, 8), OUTPUTS)
    shard_onnx(whole, Order(stages=2, directory=MODEL / "2"), {}, lambda *_: None)


def export_onnx(
    network: nn.Module, path: Path, name: str, shape: tuple[int, ...], outputs: list[str]
) -> None:
    """Write *network* to *path* with a dynamic batch, and nothing about this machine."""
    import onnx

    path.parent.mkdir(parents=True, exist_ok=True)
    program = torch.onnx.export(
        network,
        (torch.zeros(2, *shape),),
        input_names=[name],
        output_names=outputs,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    proto = program.model_proto
    for part in (proto, proto.graph, *proto.graph.node, *proto.graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    for part in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del part.metadata_props[:]
    onnx.save(proto, str(path))


def write_images(images: Floats, labels: Labels) -> None:
    """The held-out images for the demo, and one of each digit as a PNG."""
    from PIL import Image

    np.savez_compressed(HERE / "heldout.npz", images=images, labels=labels)
    folder = HERE / "images"
    folder.mkdir(exist_ok=True)
    for digit in range(10):
        image = images[np.flatnonzero(labels == digit)[0], 0]
        Image.fromarray(np.round(image * 255).astype(np.uint8)).save(folder / f"{digit}.png")


def write_all_versions(directory: Path) -> None:
    """A model repository in *directory* whose model ``digits`` has all four versions."""
    model = directory / "digits"
    shutil.copytree(MODEL, model, dirs_exist_ok=True)
    network = trained()
    order = Order(stages=2, directory=model / "3")
    shard_torch(lambda: network, order, parse_inputs(["image=-1,1,8,8:FP32"]), lambda *_: None)
    write_mixed_stages(network, model / "4")


def write_mixed_stages(network: Digits, folder: Path) -> None:
    """One stage of each kind; the tensor between them has one name in both."""
    import onnx

    whole = MODEL / "1" / "model.onnx"
    pool = next(node for node in onnx.load(str(whole)).graph.node if node.op_type == "MaxPool")
    features = pool.output[0]
    folder.mkdir(parents=True, exist_ok=True)
    onnx.utils.extract_model(str(whole), str(folder / "shard-0.onnx"), ["image"], [features])
    program = torch.export.export(
        network.answer,
        (torch.zeros(2, 32, 4, 4),),
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    names = write_extra(
        [TensorSignature(features, "FP32", (-1, 32, 4, 4))],
        [
            TensorSignature("probabilities", "FP32", (-1, 10)),
            TensorSignature("digit", "INT64", (-1, 1)),
        ],
    )
    extra: dict[str, Any] = {EXTRA_FILE: names}
    torch.export.save(program, folder / "shard-1.pt2", extra_files=extra)


if __name__ == "__main__":
    main()
