"""A client of gRPC that shares no code with gRPC's C core is answered the same by both servers.

`make interop` installs it (npm) and says where it is.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.models.onnx_models import write_identities, write_slow
from support.processes.cluster import Cluster

INSTALLED = os.environ.get("PENSTOCK_NODE_MODULES", "")
PROTOS = Path(__file__).parents[3] / "protos"
CLIENT = Path(__file__).with_name("client.js")

pytestmark = [
    pytest.mark.skipif(not INSTALLED, reason="make interop"),
    pytest.mark.xdist_group("interop"),
]

ANSWERS = {
    "infer": {"id": "seven", "shape": [3], "numbers": [1, 2, 3]},
    "metadata": {"name": "identity_flat", "inputs": ["FP32"]},
    "unknown": {
        "code": "NOT_FOUND",
        "details": "Request for unknown model: 'nobody' is not found",
    },
    "refused": {"code": "INVALID_ARGUMENT"},
    "unimplemented": {"code": "UNIMPLEMENTED"},
    "large": {"length": 2 << 20, "same": True},
    "compressed": {"length": 1000, "last": 5},
    "deadline": {"code": "DEADLINE_EXCEEDED"},
    "cancelled": {"code": "CANCELLED"},
    "together": {"right": 200},
    "stream": {"ids": [str(number) for number in range(20)]},
    "streamed_error": {"good": [False, True]},
    "stream_given_up": {"code": "CANCELLED", "after": [4]},
    "keepalive": {"live": True},
}
"""What each case of client.js must come to; of a failure, what is the server's to say."""


@pytest.fixture(scope="module", params=["aio", "asgi"])
def address(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"interop-{request.param}")
    write_identities(folder / "models", "identity_flat", ["FP32"], batch=False)
    write_slow(folder / "models")
    one = Cluster(folder, folder / "models", "--grpc-front", request.param)
    with one.running():
        yield one.url


@pytest.mark.parametrize("name", ANSWERS)
def test_grpc_js_is_answered(address, name):
    ended = subprocess.run(
        [shutil.which("node"), CLIENT, address, PROTOS, name],
        env={**os.environ, "NODE_PATH": INSTALLED},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert ended.returncode == 0, ended.stderr
    came = json.loads(ended.stdout)

    assert {key: came[key] for key in ANSWERS[name]} == ANSWERS[name]
