"""The other ceiling: ONNX Runtime alone, in one process, with no server and no client.

    python bench/inprocess.py MODEL.onnx --threads 2 --batch-sizes 1 2 4 8 --seconds 2

Runs the model in a loop at each batch size and prints the items a second as JSON. It copies nothing
and splits nothing: what a server adds is all missing here.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

_SEED = 0
_NUMPY = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


def open_session(model: Path, threads: int, device: str = "cpu") -> Any:
    """The model on the CPU with that many intra-op threads, or on the first GPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    providers: list[Any] = ["CPUExecutionProvider"]
    if device == "cuda":
        # As Penstock has it: the exhaustive search would begin anew with each batch size.
        providers.insert(0, ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"}))
    return onnxruntime.InferenceSession(str(model), sess_options=options, providers=providers)


def items_per_s(session: Any, batch: int, seconds: float) -> float:
    """Items a second at that batch size, after one call that does not count."""
    random = np.random.default_rng(_SEED)
    feed = {}
    for tensor in session.get_inputs():
        shape = [batch, *tensor.shape[1:]]
        kind = _NUMPY[tensor.type]
        feed[tensor.name] = (
            random.integers(0, 8, size=shape) if kind is np.int64 else random.standard_normal(shape)
        ).astype(kind)
    session.run(None, feed)
    began = now = time.perf_counter()
    calls = 0
    while now - began < seconds:
        session.run(None, feed)
        calls += 1
        now = time.perf_counter()
    return calls * batch / (now - began)


def main() -> None:
    """Measure each batch size and print a JSON object: batch size -> items/s."""
    parser = argparse.ArgumentParser(description="ONNX Runtime without a server.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    session = open_session(options.model, options.threads, options.device)
    rates = {size: items_per_s(session, size, options.seconds) for size in options.batch_sizes}
    print(json.dumps(rates))


if __name__ == "__main__":
    main()
