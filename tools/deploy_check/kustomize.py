"""Kustomize's base and overlays: rendered from the chart, for those who have no helm.

The base is what all overlays have in common; an overlay adds pools and numbers of replicas.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import yaml

from deploy_check import fetched
from deploy_check.check import DEPLOY, Check, Wrong, output_of, require
from deploy_check.pods import restricted
from deploy_check.rendered import Manifest, manifests, named, pods_of

FOLDER = DEPLOY / "kustomize"
OVERLAYS = ("one-machine", "cpu", "gpu")

_HEAD = "# Rendered from the chart by `make deploy-files`: change values.yaml, or the chart.\n"
_OF_HELM = ("helm.sh/chart", "app.kubernetes.io/managed-by")


def made() -> Mapping[Path, str]:
    """What each file shall hold."""
    base = _rendered(FOLDER / "base/values.yaml")
    found = {
        FOLDER / "base/penstock.yaml": _written(base.values()),
        FOLDER / "base/kustomization.yaml": _kustomization({"resources": ["penstock.yaml"]}),
    }
    for name in OVERLAYS:
        own = _rendered(FOLDER / f"overlays/{name}/values.yaml")
        new = [one for key, one in own.items() if key not in base]
        found[FOLDER / f"overlays/{name}/pools.yaml"] = _written(new)
        found[FOLDER / f"overlays/{name}/kustomization.yaml"] = _kustomization(
            {"resources": ["../../base", "pools.yaml"], "replicas": list(_replicas(own, base))}
        )
    return found


@cache
def _rendered(values: Path) -> Mapping[str, Manifest]:
    found = {}
    for manifest in manifests(values):
        if "helm.sh/hook" in manifest["metadata"].get("annotations", {}):
            continue
        _forget_helm(manifest)
        found[named(manifest)] = manifest
    return found


def _forget_helm(found: object) -> None:
    """Take out what says that helm made it."""
    if isinstance(found, dict):
        for name in _OF_HELM:
            found.pop(name, None)
        for inner in found.values():
            _forget_helm(inner)
    elif isinstance(found, list):
        for inner in found:
            _forget_helm(inner)


def _replicas(own: Mapping[str, Manifest], base: Mapping[str, Manifest]) -> Iterator[object]:
    """How many of a Deployment there are where an overlay differs from the base in that.

    Raises:
        Wrong: it differs in something else.
    """
    for key, manifest in base.items():
        other = {**own[key], "spec": dict(own[key].get("spec", {}))}
        count = other["spec"].get("replicas")
        if manifest["kind"] == "Deployment" and count != manifest["spec"]["replicas"]:
            other["spec"]["replicas"] = manifest["spec"]["replicas"]
            yield {"name": manifest["metadata"]["name"], "count": count}
        if other != {**manifest, "spec": dict(manifest.get("spec", {}))}:
            raise Wrong(f"{key} differs from the base in more than its replicas")


def _written(found: object) -> str:
    documents = list(found)  # type: ignore[call-overload]
    text: str = yaml.safe_dump_all(documents, sort_keys=False, width=120)
    return _HEAD + text


def _kustomization(content: Mapping[str, object]) -> str:
    kind = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    return _HEAD + str(yaml.safe_dump({**kind, **content}, sort_keys=False))


def _builds() -> str:
    """Each overlay builds, to the same as the chart with the overlay's values."""
    faults, seen = [], 0
    for name in OVERLAYS:
        text = output_of(fetched.kubectl(), "kustomize", FOLDER / "overlays" / name)
        built = {named(one): one for one in yaml.safe_load_all(text)}
        wanted = _rendered(FOLDER / f"overlays/{name}/values.yaml")
        seen += len(built)
        faults += [f"{name}: {key} is not as the chart has it" for key in _differing(built, wanted)]
        faults += [
            f"{name}: {fault}"
            for pod in pods_of(tuple(built.values()))
            for fault in restricted(pod)
        ]
    require(faults)
    return f"{len(OVERLAYS)} overlays, {seen} manifests"


def _differing(one: Mapping[str, Manifest], other: Mapping[str, Manifest]) -> list[str]:
    return [key for key in sorted({*one, *other}) if one.get(key) != other.get(key)]


CHECKS = (Check("kustomize: overlays build, to what the chart has", _builds),)
