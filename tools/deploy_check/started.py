"""Each role, started with the arguments, variables and files that its rendered Pods have."""

from deploy_check.check import Check, Wrong, require
from deploy_check.cluster import Cluster, Member, until
from deploy_check.rendered import CHART

VALUES = CHART / "ci/started.yaml"


def _roles_start() -> str:
    """All of them serve a model together, are asked as ``helm test`` asks, and end in order."""
    with Cluster(VALUES) as cluster:
        cluster.key("penstock-monitoring", "read")
        tests = [pod for pod in cluster.pods if pod.name.startswith("Pod/")]
        for pod in cluster.pods:
            if pod not in tests:
                cluster.start(pod)
        cluster.ready()
        (test,) = tests
        gateway = next(one for one in cluster.members if "grpc" in one.ports)
        until(lambda: _answers(cluster, gateway), "digits can answer")
        _ask(cluster, gateway, test.spec["containers"][0]["args"])
        wrong = [one for one in cluster.members if not one.probe("livenessProbe")]
        require([f"{one.pod} does not live: {one.said()}" for one in wrong])
        ended = [(one, one.end()) for one in reversed(cluster.members)]
    require([f"{one.pod} ended with {status}: {one.said()}" for one, status in ended if status])
    roles = [one.container["name"] for one in cluster.members]
    return f"{len(roles)} processes: {', '.join(roles)}"


def _words(cluster: Cluster, gateway: Member) -> tuple[str, ...]:
    folder = cluster.folder / "secrets"
    return (
        f"--url=grpcs://127.0.0.1:{gateway.ports['grpc']}",
        f"--ca={folder / 'penstock-ca/ca.crt'}",
        f"--token={folder / 'penstock-monitoring/token'}",
    )


def _answers(cluster: Cluster, gateway: Member) -> bool:
    try:
        return "digits" in cluster.penstock("models", "ls", "--ready", *_words(cluster, gateway))
    except Wrong:
        return False


def _ask(cluster: Cluster, gateway: Member, args: list[str]) -> None:
    """As the Pod of ``helm test`` does, but for where it asks."""
    given = dict(one.partition("=")[::2] for one in _words(cluster, gateway))
    words = [word.partition("=")[0] for word in args]
    shown = cluster.penstock(*(f"{w}={given[w]}" if w in given else w for w in words))
    require([] if "digits" in shown else [f"penstock status shows no model: {shown}"])


CHECKS = (Check("roles start as their Pods would, serve, and end", _roles_start),)
