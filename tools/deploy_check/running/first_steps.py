"""`docs/operations/install.md` with podman, line by line, to a prediction with a key over TLS."""

import contextlib
import json
import os
import re
import sys
import tempfile
import venv
from collections.abc import Iterator, Mapping

from deploy_check.check import ROOT, Check, Wrong, output_of, require
from deploy_check.running.engine import logs_of, needed, podman, prepare, wait_for
from deploy_check.running.images import built

_PAGE = (ROOT / "docs/operations/install.md").read_text()
_SECTION = _PAGE.partition("\n## podman\n")[2].partition("\n## ")[0]
_BLOCK = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
(_CERTIFICATES,) = _BLOCK.findall(_PAGE.partition("\n## podman\n")[0])
_BUILD, _START, _CALL, _COMPOSE = _BLOCK.findall(_SECTION)
_KEY = re.compile(r"psk_\w+")
_COMPOSE_VERSION = "podman-compose==1.6.0"
_CONTAINERS = ("valkey", "scheduler", "node", "gateway")


@contextlib.contextmanager
def _newcomer() -> Iterator[Mapping[str, str]]:
    """The environment of somebody who has an image, and made a home for Penstock."""
    prepare()
    needed("openssl", "curl")
    image = built("onnx").name
    shown = re.findall(r"localhost/penstock-onnx:[\d.]+", _PAGE)
    require([] if {*shown} == {image} else [f"the page builds {shown}, and this is {image}"])
    with tempfile.TemporaryDirectory(prefix="penstock-home-") as name:
        given = {**os.environ, "HOME": name, "no_proxy": "*"}
        # The image is there: of its recipe `make images` is another user.
        _shell("".join(line for line in _lines(_BUILD) if not line.startswith("podman")), given)
        _shell(f"cd ~/penstock\n{_CERTIFICATES}", given)
        yield given


def _lines(block: str) -> list[str]:
    return block.splitlines(keepends=True)


def _shell(words: str, given: Mapping[str, str]) -> str:
    return output_of("bash", "-euo", "pipefail", "-c", words, env=given, within_s=120)


def _in_a_pod() -> str:
    """The first way: podman and nothing else."""
    *start, make_key = _lines(_START)
    with _newcomer() as given:
        try:
            _shell("".join(start), given)
            return _predicts(make_key, given)
        except Exception:
            _print_logs()
            raise
        finally:
            podman("kube", "down", ROOT / "deploy/pod.yaml", within_s=120)
            podman("volume", "rm", "--force", "penstock-data")


def _composed() -> str:
    """The second way: podman-compose."""
    start, make_key = (line.replace("podman-compose", "$COMPOSE") for line in _lines(_COMPOSE))
    with _newcomer() as home, tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=False)
        pip = (sys.executable, "-m", "pip", "--python", f"{folder}/bin/python")
        output_of(*pip, "install", "--quiet", _COMPOSE_VERSION, within_s=120)
        given = {**home, "COMPOSE": f"{folder}/bin/podman-compose"}
        try:
            _shell("chmod 644 ~/penstock/tls/server.key", given)
            _shell(start, given)
            return _predicts(make_key, given)
        except Exception:
            _print_logs()
            raise
        finally:
            _shell("$COMPOSE -f deploy/compose.yaml down --volumes", given)


def _predicts(make_key: str, given: Mapping[str, str]) -> str:
    """Make a key and ask as the page has it, once the store and the models are there."""

    def key() -> str:
        found = _KEY.search(_shell(f"{make_key.rstrip()} 2>&1", given))
        return found[0] if found else ""

    asked = re.sub(r"psk_\.\.\.", wait_for("a key can be made", key), _CALL)

    def answer() -> list[int]:
        outputs = json.loads(_shell(asked, given)).get("outputs", [])
        return next((one["data"] for one in outputs if one["name"] == "digit"), [])

    digit = wait_for("a prediction", answer, 120)
    if digit != [7]:
        raise Wrong(f"the digit is 7, and the answer is {digit}")
    unasked = asked.replace("Bearer $", "Bearer x$").replace("curl -s", "curl -s -w '%{http_code}'")
    refused = _shell(unasked, given)
    require([] if refused.endswith("401") else [f"without a key it says {refused}"])
    return f"{len(_lines(_BUILD + _CERTIFICATES + _START + _CALL))} lines, a 7"


def _print_logs() -> None:
    for name in _CONTAINERS:
        print(logs_of(f"penstock-{name}")[-2000:])


CHECKS = (
    Check("install.md with podman: a prediction with a key over TLS", _in_a_pod, long=True),
    Check("install.md with podman-compose: the same", _composed, long=True),
)
