"""The REST protocol as an OpenAPI document, made of the routes themselves."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import penstock
from penstock.gateway.fronts.http.app import Route
from penstock.gateway.fronts.http.json_messages import dumped

_OPTIONAL: Final = re.compile(r"\(\?:(/\w*/?)(\(\?P<\w+>[^)]+\))\)\?")
_NAMED: Final = re.compile(r"\(\?P<(\w+)>([^)]*)\)")
_TENSOR: Final = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string", "examples": ["FP32", "INT64", "BYTES"]},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "data": {"type": "array", "items": {}},
        "parameters": {"type": "object"},
    },
}
_SCHEMAS: Final = {
    "Tensor": _TENSOR,
    "InferRequest": {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "inputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
            "outputs": {"type": "array", "items": {"type": "object"}},
            "parameters": {"type": "object"},
        },
    },
    "InferResponse": {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "outputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
            "parameters": {"type": "object"},
        },
    },
    "Error": {"type": "object", "properties": {"error": {"type": "string"}}},
}


def document(routes: Iterable[Route]) -> bytes:
    """The document, as JSON; what a route answers says its docstring's first line."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for path in templates(route.pattern.pattern):
            operations = paths.setdefault(path, {})
            for method in route.methods:
                operations[method.lower()] = _operation(route, path)
    return dumped(
        {
            "openapi": "3.1.0",
            "info": {"title": "Penstock", "version": penstock.__version__},
            "paths": paths,
            "components": {"schemas": _SCHEMAS},
        }
    )


def templates(pattern: str) -> Iterator[str]:
    """The paths that a route's *pattern* stands for: each optional part is there, or not."""
    optional = _OPTIONAL.search(pattern)
    if optional is not None:
        before, after = pattern[: optional.start()], pattern[optional.end() :]
        yield from templates(before + after)
        yield from templates(before + optional[1] + optional[2] + after)
        return
    yield _NAMED.sub(lambda found: f"{{{found[1]}}}" if found[2] else "", pattern).rstrip("/?")


def _operation(route: Route, path: str) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", path)
    summary = (route.handle.__doc__ or "").partition("\n")[0]
    answer: dict[str, Any] = {"description": summary}
    operation: dict[str, Any] = {
        "summary": summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ],
        "responses": {"200": answer, "default": _content("Refused", "Error")},
    }
    if route.rpc == "ModelInfer" and path.startswith("/v2/"):
        operation["requestBody"] = {**_content("", "InferRequest"), "required": True}
        operation["responses"]["200"] = _content(summary, "InferResponse")
    return operation


def _content(description: str, schema: str) -> dict[str, Any]:
    body = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    return {"description": description, "content": {"application/json": body}}
