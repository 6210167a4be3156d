"""Triton's own server, from the wheel nvidia-pytriton, in a virtual environment of its own."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import tritonclient.grpc as triton

READY_S = 120.0


@contextlib.contextmanager
def triton_server(environment, models, folder):
    """Its address while it serves *models*, with what is written at once in *folder*."""
    site = next(Path(environment).glob("lib/python3.*/site-packages"))
    home = site / "pytriton" / "tritonserver"
    backend = folder / "backends" / "python"
    shutil.copytree(home / "backends" / "python", backend)
    version = site.parent.name.removeprefix("python")
    stub = home / "python_backend_stubs" / version / "triton_python_backend_stub"
    for source, target in ((stub, backend / stub.name), (home / "bin" / "tritonserver", None)):
        if target is not None:
            shutil.copy(source, target)
        (target or source).chmod(0o755)
    ports = [_free_port() for _ in range(3)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(home / "bin" / "tritonserver"),
                *("--model-repository", str(models), "--backend-directory", str(backend.parent)),
                *("--grpc-port", str(ports[0]), "--http-port", str(ports[1])),
                *("--grpc-address", "127.0.0.1", "--http-address", "127.0.0.1"),
                *("--metrics-port", str(ports[2]), "--exit-on-error", "false"),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
            env={
                **os.environ,
                "LD_LIBRARY_PATH": str(site / "nvidia_pytriton.libs"),
                "VIRTUAL_ENV": str(environment),
                "PATH": f"{environment}/bin:{os.environ['PATH']}",
                "PYTHONPATH": str(site),
            },
        )
    try:
        url = f"127.0.0.1:{ports[0]}"
        _wait_until_live(url, process, folder / "log")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_live(url, process, log):
    ends_s = time.monotonic() + READY_S
    with triton.InferenceServerClient(url) as client:
        while True:
            assert process.poll() is None, log.read_text()[-4000:]
            with contextlib.suppress(Exception):
                if client.is_server_live(client_timeout=1) and _settled(client):
                    return
            assert time.monotonic() < ends_s, log.read_text()[-4000:]
            time.sleep(0.2)


def _settled(client):
    models = client.get_model_repository_index().models
    return bool(models) and all(one.state in ("READY", "UNAVAILABLE") for one in models)


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
