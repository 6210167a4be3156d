"""The chart as helm renders it, and what its Pods are."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from deploy_check import fetched
from deploy_check.check import DEPLOY, output_of

CHART = DEPLOY / "chart"
VALUES = sorted((CHART / "ci").glob("*.yaml"))
"""Values with which the chart is rendered."""

WRONG = sorted((CHART / "ci/wrong").glob("*.yaml"))
"""Values that are refused; the first line says with which words."""

Manifest = Mapping[str, Any]


class PodSpec(NamedTuple):
    """A Pod that a manifest asks for."""

    name: str
    labels: Mapping[str, str]
    spec: Mapping[str, Any]


def template(values: Path, release: str = "penstock") -> str:
    """What helm makes of the chart with these values."""
    return output_of(fetched.helm(), "template", release, CHART, "-n", "serving", "-f", values)


@cache
def manifests(values: Path) -> tuple[Manifest, ...]:
    """The manifests that helm makes of the chart with these values."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return tuple(one for one in yaml.load_all(template(values), loader) if one)


def named(manifest: Manifest) -> str:
    """As in Deployment/penstock-gateway."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def pods_of(found: tuple[Manifest, ...]) -> Iterator[PodSpec]:
    """The Pods that manifests ask for."""
    for manifest in found:
        if manifest["kind"] == "Pod":
            yield PodSpec(named(manifest), manifest["metadata"]["labels"], manifest["spec"])
        elif "template" in manifest.get("spec", {}):
            pod = manifest["spec"]["template"]
            yield PodSpec(named(manifest), pod["metadata"]["labels"], pod["spec"])
