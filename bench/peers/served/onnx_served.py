"""What the peers' programs share: the model that the environment names, on ONNX Runtime."""

import os

import numpy as np
import onnxruntime

ARTIFACT = os.environ.get("PEER_ARTIFACT", "")
MODEL = os.environ.get("PEER_MODEL", "")
WORKERS = int(os.environ.get("PEER_WORKERS", "1"))
THREADS = int(os.environ.get("PEER_THREADS", "1"))
BATCH = int(os.environ.get("PEER_BATCH", "1"))
DELAY_MS = float(os.environ.get("PEER_DELAY_MS", "0"))

_NUMPY = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


def opened(artifact=ARTIFACT, threads=THREADS):
    """A session whose threads do not spin: the load is made on the same cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        artifact, sess_options=options, providers=["CPUExecutionProvider"]
    )


def row_of(session):
    """The numpy type and the shape of one row of its input."""
    (tensor,) = session.get_inputs()
    return _NUMPY[tensor.type], tuple(tensor.shape[1:])


def run(session, rows):
    """The output for a batch of rows."""
    (tensor,) = session.get_inputs()
    return session.run(None, {tensor.name: rows})[0]
