"""The chart: rendered, refused where values are wrong, and valid for Kubernetes 1.30 to 1.37."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from deploy_check import fetched
from deploy_check.check import Check, Wrong, output_of, require
from deploy_check.rendered import CHART, VALUES, WRONG, Manifest, manifests, named, template

VERSIONS = tuple(f"1.{minor}" for minor in range(30, 38))

# Fields that came later than the first version.
_SINCE = {"spec.template.spec.volumes.image": 31}
_CUSTOM = {
    "monitoring.coreos.com/v1": ("PodMonitor", "PrometheusRule"),
    "cert-manager.io/v1": ("Certificate",),
}


def _lint() -> str:
    for values in VALUES:
        output_of(fetched.helm(), "lint", "--strict", CHART, "-f", values)
    return f"{len(VALUES)} values files"


def _refuse() -> str:
    faults = [fault for path in WRONG for fault in _not_refused(path)]
    require(faults)
    return f"{len(WRONG)} wrong values files"


def _not_refused(path: Path) -> Iterator[str]:
    words = path.read_text().splitlines()[0].removeprefix("# says: ")
    try:
        template(path)
    except Wrong as refusal:
        if words not in str(refusal):
            yield f"{path.name}: not refused with '{words}', but with: {refusal}"
    else:
        yield f"{path.name}: not refused"


def _values_and_schema() -> str:
    """Each value has its place in the schema, and the other way round."""
    text = (CHART / "values.yaml").read_text()
    # Pools are there as comments.
    names = set(re.findall(r"^#?\s*(?:- )?([A-Za-z]+):", text, re.MULTILINE))
    names |= set(re.findall(r"[{,] ([A-Za-z]+):", text))
    schema = json.loads((CHART / "values.schema.json").read_text())
    known = set(_names(schema["properties"]))
    require([f"values.yaml does not tell of {name}" for name in sorted(known - names)])
    open_ = [path for path in _objects(schema, "") if not path[1]]
    require([f"the schema lets any name pass at {path}" for path, _ in open_])
    return f"{len(known)} names"


def _names(properties: dict[str, Any]) -> Iterator[str]:
    for name, schema in properties.items():
        if name == "global":
            continue
        yield name
        yield from _names(schema.get("properties", {}))
        yield from _names(schema.get("items", {}).get("properties", {}))


def _objects(schema: Any, path: str) -> Iterator[tuple[str, bool]]:
    """Each object with properties, and whether it has no others."""
    if isinstance(schema, dict):
        if "properties" in schema and isinstance(schema["properties"], dict):
            yield path, schema.get("additionalProperties") is False
        for name, inner in schema.items():
            yield from _objects(inner, f"{path}/{name}")


def _valid() -> str:
    faults: list[str] = []
    seen = 0
    for values in VALUES:
        for manifest in manifests(values):
            if manifest["kind"] in _CUSTOM.get(manifest["apiVersion"], ()):
                continue
            seen += 1
            for version in VERSIONS:
                if not _needs_later(manifest, version):
                    errors = _schema(version, manifest).iter_errors(manifest)
                    faults += [
                        f"{values.name} {version} {named(manifest)}: {e.json_path}: "
                        f"{e.message[:200]}"
                        for e in errors
                    ]
    require(faults)
    return f"{seen} manifests, Kubernetes {VERSIONS[0]} to {VERSIONS[-1]}"


def _needs_later(manifest: Manifest, version: str) -> bool:
    """Whether it has what only a later version knows, as values.yaml says of it."""
    pod = manifest.get("spec", {}).get("template", {}).get("spec", {})
    has_image = any("image" in volume for volume in pod.get("volumes", ()))
    minor = int(version.partition(".")[2])
    return has_image and minor < _SINCE["spec.template.spec.volumes.image"]


@cache
def _folder(version: str) -> Path:
    return fetched.kubernetes_schemas() / f"v{version}.0-local-strict"


@cache
def _registry(version: str) -> Registry[Any]:
    @cache
    def retrieve(uri: str) -> Resource[Any]:
        text = (_folder(version) / uri.rpartition("/")[2]).read_text()
        return Resource.from_contents(json.loads(text), default_specification=DRAFT202012)

    return Registry(retrieve=retrieve)


def _schema(version: str, manifest: Manifest) -> Validator:
    return _validator(version, manifest["apiVersion"], manifest["kind"])


@cache
def _validator(version: str, api: str, kind: str) -> Validator:
    group, _, number = api.rpartition("/")
    name = "-".join(filter(None, (kind, group.partition(".")[0], number))).lower()
    path = _folder(version) / f"{name}.json"
    if not path.exists():
        raise Wrong(f"Kubernetes {version} knows no {kind} of {api}")
    return Draft202012Validator(json.loads(path.read_text()), registry=_registry(version))


def _renders_alike() -> str:
    """Rendering is a function of the values: what is rendered twice is equal."""
    for values in VALUES:
        if template(values) != template(values):
            raise Wrong(f"{values.name} is rendered differently each time")
    return f"{len(VALUES)} values files"


def _custom_known() -> str:
    found = {
        (manifest["apiVersion"], manifest["kind"])
        for values in VALUES
        for manifest in manifests(values)
        if "." in manifest["apiVersion"].partition("/")[0].removesuffix(".k8s.io")
    }
    known = {(api, kind) for api, kinds in _CUSTOM.items() for kind in kinds}
    require([f"{kind} of {api} is rendered, and nothing knows it" for api, kind in found - known])
    require([f"{kind} of {api} is never rendered" for api, kind in known - found])
    return ", ".join(sorted(kind for _, kind in found))


CHECKS = (
    Check("chart: lint", _lint),
    Check("chart: wrong values are refused with words", _refuse),
    Check("chart: values.yaml and its schema agree", _values_and_schema),
    Check("chart: rendered twice, the same", _renders_alike),
    Check("chart: valid for Kubernetes", _valid),
    Check("chart: custom resources are those that are known", _custom_known),
)
