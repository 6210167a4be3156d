"""Rendered Pods: the profile ``restricted`` field by field, closed networks, ends in order."""

from collections.abc import Iterator, Mapping
from typing import Any

from deploy_check.check import Check, require
from deploy_check.rendered import VALUES, Manifest, PodSpec, manifests, named, pods_of

# Of the Pod Security Standards; an image volume is read-only, and allowed as well.
_VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret", "image"),
}
_SECCOMP = {"RuntimeDefault", "Localhost"}
_HOST = ("hostNetwork", "hostPID", "hostIPC")


def restricted(pod: PodSpec) -> Iterator[str]:
    """Where *pod* is not what the profile ``restricted`` asks for."""
    spec, inherited = pod.spec, pod.spec.get("securityContext", {})
    for name in _HOST:
        if spec.get(name):
            yield f"{pod.name}: {name}"
    if inherited.get("sysctls"):
        yield f"{pod.name}: sysctls"
    for volume in spec.get("volumes", ()):
        yield from (f"{pod.name}: volume {kind}" for kind in set(volume) - {"name"} - _VOLUMES)
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        own = container.get("securityContext", {})
        where = f"{pod.name}, container {container['name']}"
        yield from (f"{where}: {fault}" for fault in _container(own, inherited))
        yield from (
            f"{where}: hostPort" for port in container.get("ports", ()) if "hostPort" in port
        )


def _container(own: Mapping[str, Any], inherited: Mapping[str, Any]) -> Iterator[str]:
    def of(name: str) -> Any:
        return own.get(name, inherited.get(name))

    capabilities = own.get("capabilities", {})
    found = {
        "privileged": bool(own.get("privileged")),
        "allowPrivilegeEscalation is not false": own.get("allowPrivilegeEscalation") is not False,
        "capabilities are not dropped": "ALL" not in capabilities.get("drop", ()),
        "capabilities are added": bool(set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"}),
        "runAsNonRoot is not true": of("runAsNonRoot") is not True,
        "runs as root": of("runAsUser") == 0,
        "no seccompProfile": (of("seccompProfile") or {}).get("type") not in _SECCOMP,
        "procMount": of("procMount") not in {None, "Default"},
        "seLinuxOptions": bool(of("seLinuxOptions")),
    }
    return (fault for fault, there in found.items() if there)


def sparing(pod: PodSpec) -> Iterator[str]:
    """Where *pod* has more than it needs, or is not watched over."""
    if pod.spec.get("automountServiceAccountToken") is not False:
        yield f"{pod.name}: it has a token of Kubernetes, and needs none"
    if pod.spec.get("enableServiceLinks") is not False:
        yield f"{pod.name}: other Services' addresses come as variables"
    for container in pod.spec["containers"]:
        where = f"{pod.name}, container {container['name']}"
        if container["securityContext"].get("readOnlyRootFilesystem") is not True:
            yield f"{where}: its root can be written"
        if pod.labels["app.kubernetes.io/component"] != "test":
            probes = ("livenessProbe", "readinessProbe", "startupProbe")
            yield from (f"{where}: no {probe}" for probe in probes if probe not in container)
        ports = [port["name"] for port in container.get("ports", ())]
        asked = {container[p]["httpGet"]["port"] for p in container if p.endswith("Probe")}
        yield from (f"{where}: a probe asks {port}, which is no port" for port in asked - {*ports})
        secret = [one for one in container["args"] if "redis://" in one or "rediss://" in one]
        yield from (f"{where}: {one} shows the store's password" for one in secret)


def _all_pods() -> Iterator[tuple[str, PodSpec]]:
    for values in VALUES:
        for pod in pods_of(manifests(values)):
            yield values.name, pod


def _restricted() -> str:
    pods = list(_all_pods())
    require([f"{where}: {fault}" for where, pod in pods for fault in restricted(pod)])
    return f"{len(pods)} Pods, {sum(len(pod.spec['containers']) for _, pod in pods)} containers"


def _sparing() -> str:
    pods = list(_all_pods())
    require([f"{where}: {fault}" for where, pod in pods for fault in sparing(pod)])
    return f"{len(pods)} Pods"


def _ends_in_order() -> str:
    """What a container needs to end is within the Pod's grace."""
    faults, seen = [], 0
    for where, pod in _all_pods():
        for container in pod.spec["containers"]:
            args = dict(one.partition("=")[::2] for one in container["args"])
            sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {})
            needs = sleep.get("seconds", 0) + float(args.get("--drain-s", 0))
            seen += 1
            if needs >= pod.spec["terminationGracePeriodSeconds"]:
                faults.append(f"{where} {pod.name}: {needs:g} s to end are more than its grace")
    require(faults)
    return f"{seen} containers"


def _closed() -> str:
    """Each Pod has a policy that denies both ways, and what is selected is there."""
    faults, seen = [], 0
    for values in VALUES:
        found = manifests(values)
        policies = [one for one in found if one["kind"] == "NetworkPolicy"]
        if values.name == "inside.yaml":
            require([f"{values.name}: policies, though there shall be none"] if policies else [])
            continue
        for pod in pods_of(found):
            seen += 1
            denied = {kind for one in policies if _denies(one, pod) for kind in _types(one)}
            if denied != {"Ingress", "Egress"}:
                faults.append(f"{values.name} {pod.name}: only {sorted(denied)} is denied")
        for policy in policies:
            unknown = set(_types(policy)) - {"Ingress", "Egress"}
            faults += [
                f"{values.name} {named(policy)}: no such policy type {one}" for one in unknown
            ]
    require(faults)
    return f"{seen} Pods"


def _opened() -> str:
    """What is let in is what is served, but for health, which kubelets alone ask."""
    faults, seen = [], 0
    for values in VALUES:
        found = manifests(values)
        policies = [one for one in found if one["kind"] == "NetworkPolicy"]
        if not policies:
            continue
        for pod in pods_of(found):
            mine = [one for one in policies if _selects(one["spec"]["podSelector"], pod)]
            opened = {number for one in mine for number in _let_in(one)}
            served = set(_served(pod))
            seen += len(served)
            where = f"{values.name} {pod.name}"
            faults += [f"{where}: {port} is let in, and not served" for port in opened - served]
            faults += [f"{where}: {port} is served to nobody" for port in served - opened]
    require(faults)
    return f"{seen} ports"


def _let_in(policy: Manifest) -> Iterator[int]:
    for rule in policy["spec"].get("ingress", ()):
        yield from (port["port"] for port in rule["ports"])


def _served(pod: PodSpec) -> Iterator[int]:
    for container in pod.spec["containers"]:
        for port in container.get("ports", ()):
            if not port["name"].endswith("health"):
                yield port["containerPort"]


def _types(policy: Manifest) -> list[str]:
    return list(policy["spec"]["policyTypes"])


def _selects(selector: Mapping[str, Any], pod: PodSpec) -> bool:
    return bool(selector["matchLabels"].items() <= pod.labels.items())


def _denies(policy: Manifest, pod: PodSpec) -> bool:
    spec = policy["spec"]
    return _selects(spec["podSelector"], pod) and not (spec.get("ingress") or spec.get("egress"))


def _selected() -> str:
    """Each Service, budget and monitor selects Pods that have the ports it names."""
    faults, seen = [], 0
    for values in VALUES:
        found = manifests(values)
        pods = list(pods_of(found))
        for manifest in found:
            selector, ports = _selection(manifest)
            if selector is None:
                continue
            seen += 1
            chosen = [pod for pod in pods if selector.items() <= pod.labels.items()]
            if not chosen:
                faults.append(f"{values.name} {named(manifest)} selects no Pod")
            for pod in chosen:
                has = {p["name"] for c in pod.spec["containers"] for p in c.get("ports", ())}
                faults += [
                    f"{values.name} {named(manifest)}: {pod.name} has no port {port}"
                    for port in ports - has
                ]
    require(faults)
    return f"{seen} selectors"


def _selection(manifest: Manifest) -> tuple[Mapping[str, str] | None, set[str]]:
    spec = manifest.get("spec", {})
    match manifest["kind"]:
        case "Service":
            return spec["selector"], {port["targetPort"] for port in spec["ports"]}
        case "PodMonitor":
            return spec["selector"]["matchLabels"], {p["port"] for p in spec["podMetricsEndpoints"]}
        case "PodDisruptionBudget" | "Deployment":
            return spec["selector"]["matchLabels"], set()
    return None, set()


CHECKS = (
    Check("Pods: the profile restricted, field by field", _restricted),
    Check("Pods: no more than they need, and probes", _sparing),
    Check("Pods: they have the time that they need to end", _ends_in_order),
    Check("network: closed but for what is allowed", _closed),
    Check("network: what is served is let in, and nothing else", _opened),
    Check("selectors find Pods and ports", _selected),
)
