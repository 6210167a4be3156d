"""A real Prometheus that scrapes a real cluster: boards have data, sums are right, alerts fire.

It is set up from the rendered PodMonitor, so TLS and the key are those that Prometheus's operator
would be told of. Rules are those of the chart, with their waits and windows shortened: it is the
conditions that are tried.
"""

import contextlib
import json
import re
import signal
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import yaml

from deploy_check import fetched
from deploy_check.check import Check, require
from deploy_check.cluster import Cluster, Member, free_port, until
from deploy_check.rendered import CHART
from deploy_check.rules import RULES, board_expressions
from penstock.client import Client
from penstock.client.access import Access

VALUES: Final = CHART / "ci/started.yaml"
_JOB: Final = "serving/penstock"
_FIRES_S: Final = 120.0

# What nothing in a sound cluster gives: lines that are there where something is wrong.
_EMPTY_WHEN_SOUND: Final = ("== 0",)


class Prometheus:
    """Scrapes the gateways of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._folder = cluster.folder / "prometheus"
        self._url = f"http://127.0.0.1:{free_port()}"

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Runs until the end of the block."""
        self._folder.mkdir()
        config = self._folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(self._config()))
        (self._folder / "rules.yaml").write_text(_shortened(RULES.read_text()))
        command = (
            str(fetched.prometheus()),
            f"--config.file={config}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address={self._url.removeprefix('http://')}",
        )
        with (self._folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            until(self._is_up, "Prometheus is up")
            yield
        finally:
            process.terminate()
            process.wait(30)

    def ask(self, expression: str) -> list[Any]:
        """What an instant query gives."""
        asked = urllib.parse.urlencode({"query": expression})
        found: list[Any] = self._get(f"/api/v1/query?{asked}")["data"]["result"]
        return found

    def number(self, expression: str) -> float:
        """The one number that a query gives; 0 where it gives none."""
        found = self.ask(expression)
        return float(found[0]["value"][1]) if found else 0.0

    def says(self, expression: str, number: float) -> bool:
        """Whether a query gives that number."""
        return self.number(expression) == number

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        alerts = self._get("/api/v1/alerts")["data"]["alerts"]
        return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}

    def fires(self, alert: str) -> None:
        """Wait until it does."""
        until(lambda: alert in self.firing(), f"{alert} fires", _FIRES_S)

    def _is_up(self) -> bool:
        try:
            return bool(self._get("/api/v1/targets")["data"]["activeTargets"])
        except OSError:
            return False

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self._url + path, timeout=10) as answer:  # noqa: S310 - our own
            return json.load(answer)

    def _config(self) -> Mapping[str, Any]:
        """As the operator makes it of the PodMonitor."""
        (asked,) = self._cluster.manifest("PodMonitor")["spec"]["podMetricsEndpoints"]
        secrets = self._cluster.folder / "secrets"

        def file(where: Mapping[str, str]) -> str:
            return str(secrets / where["name"] / where["key"])

        targets = [
            f"localhost:{one.ports[asked['port']]}"
            for one in self._cluster.members
            if asked["port"] in one.ports
        ]
        job = {
            "job_name": _JOB,
            "metrics_path": asked["path"],
            "scheme": asked["scheme"],
            "tls_config": {
                "ca_file": file(asked["tlsConfig"]["ca"]["secret"]),
                "server_name": asked["tlsConfig"]["serverName"],
            },
            "authorization": {"credentials_file": file(asked["authorization"]["credentials"])},
            "static_configs": [{"targets": targets}],
        }
        # A gateway whose store is silent answers after three seconds.
        every = {"scrape_interval": "4s", "scrape_timeout": "4s", "evaluation_interval": "1s"}
        return {"global": every, "rule_files": ["rules.yaml"], "scrape_configs": [job]}


def _shortened(rules: str) -> str:
    """The rules with waits and windows of seconds in the place of minutes."""
    rules = re.sub(r"\bfor: \w+", "for: 2s", rules)
    return re.sub(r"\[\d+m\]", "[1m]", rules)


class _Load:
    """Asks for digits until the end of the block; counts what was answered."""

    def __init__(self, cluster: Cluster, token: str | None) -> None:
        ports = [one.ports["grpc"] for one in cluster.members if "grpc" in one.ports]
        self._urls = [f"grpcs://127.0.0.1:{port}" for port in ports]
        self._ca = cluster.folder / "secrets/penstock-ca/ca.crt"
        self._token = token
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answered = 0
        self.refused = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        image = np.zeros((1, 1, 8, 8), np.float32)
        access = Access(self._urls, ca=self._ca, token=self._token, server_name="localhost")
        with Client(access, deadline_s=5) as client:
            while not self._stop.wait(0.02):
                try:
                    client.infer("digits", {"image": image}, version=1)
                    self.answered += 1
                except Exception:  # noqa: BLE001 - what is asked while a cluster is hurt may fail
                    self.refused += 1


def _watched() -> str:
    with Cluster(VALUES) as cluster:
        cluster.key("penstock-monitoring", "read")
        token = cluster.key("callers", "infer")
        for pod in cluster.pods:
            if not pod.name.startswith("Pod/"):
                cluster.start(pod)
        cluster.ready()
        prometheus = Prometheus(cluster)
        with prometheus.running():
            seen = _sound(cluster, prometheus, token)
            fired = [
                name for hurt, names in _HURTS for name in _fired(cluster, prometheus, hurt, names)
            ]
    return f"{seen}; {len(fired)} alerts fired: {', '.join(fired)}"


def _sound(cluster: Cluster, prometheus: Prometheus, token: str) -> str:
    """A cluster under load: every query has data, each request counts once, nothing fires."""
    queries = list(board_expressions())
    queries += [
        (one["record"], one["record"])
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for one in group["rules"]
        if "record" in one
    ]
    with _Load(cluster, token) as load:
        until(lambda: load.answered, "digits are answered", 30)
        for where, expression in queries:
            if expression.endswith(_EMPTY_WHEN_SOUND):
                continue
            shown = expression.replace("[1m]", "[20s]").replace("[10m]", "[20s]")
            until(partial(prometheus.ask, shown), f"{where} has data: {shown}", 30)
    counted = 'sum(nv_inference_request_success{version="1"})'
    histogram = 'sum(penstock_request_seconds_count{version="1"})'
    for expression in (counted, histogram):
        until(
            partial(prometheus.says, expression, load.answered),
            f"{expression} is {load.answered}, and not {prometheus.number(expression):g}",
            10,
        )
    require([f"{name} fires in a sound cluster" for name in sorted(prometheus.firing())])
    return f"{len(queries)} queries have data, {load.answered} requests count once"


def _fired(
    cluster: Cluster,
    prometheus: Prometheus,
    hurt: Callable[[Cluster], "contextlib.AbstractContextManager[None]"],
    names: Sequence[str],
) -> Sequence[str]:
    """*names*, all of which fire once the cluster is hurt so, and not before."""
    early = prometheus.firing() & set(names)
    require([f"{name} fires before there is a reason" for name in sorted(early)])
    with hurt(cluster):
        for name in names:
            prometheus.fires(name)
    return names


def _those(cluster: Cluster, name: str) -> list[Member]:
    return [one for one in cluster.members if one.container["name"] == name]


@contextlib.contextmanager
def _strangers(cluster: Cluster) -> Iterator[None]:
    with _Load(cluster, None):
        yield


@contextlib.contextmanager
def _silent_store(cluster: Cluster) -> Iterator[None]:
    cluster.store.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        cluster.store.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def _no_scheduler(cluster: Cluster) -> Iterator[None]:
    for one in _those(cluster, "scheduler"):
        one.end()
    yield


@contextlib.contextmanager
def _killed_workers(cluster: Cluster) -> Iterator[None]:
    """Workers are killed as often as they come, for a while."""
    (node,) = _those(cluster, "node")
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(0.5):
            for pid in _children(node.process.pid):
                with contextlib.suppress(OSError):
                    if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        _kill(pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _children(pid: int) -> list[int]:
    """All that a process has started, and what those have."""
    found = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return found + [inner for child in found for inner in _children(child)]


def _kill(pid: int) -> None:
    import os

    os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def _no_node(cluster: Cluster) -> Iterator[None]:
    for one in (*_those(cluster, "node"), *_those(cluster, "worker")):
        one.process.kill()
        one.process.wait()
    yield


@contextlib.contextmanager
def _dead_gateway(cluster: Cluster) -> Iterator[None]:
    one = _those(cluster, "gateway")[0]
    one.process.kill()
    one.process.wait()
    yield


_HURTS: Final = (
    (_strangers, ("PenstockAccessRefused",)),
    (_killed_workers, ("PenstockWorkersRestarting",)),
    (_silent_store, ("PenstockStoreAway",)),
    (_dead_gateway, ("PenstockGatewayDown",)),
    (_no_scheduler, ("PenstockNoScheduler",)),
    (_no_node, ("PenstockWorkersMissing", "PenstockModelNotReady")),
)

CHECKS = (
    Check("a real Prometheus: boards, sums, and alerts of a hurt cluster", _watched, long=True),
)
