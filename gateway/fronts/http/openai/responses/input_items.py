"""The items of an answer's input, as they are kept with it and listed. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from penstock.errors import Code, PenstockError
from penstock.gateway.requests.language.fields import FieldRefused

_MOST: Final = 100
_USUAL: Final = 20
_COMPLETED: Final = "completed"


class InputNotKept(PenstockError):
    """The answer was begun by a gateway of a release that did not keep its input."""

    code = Code.NOT_FOUND


def items_of_input(response: str, given: Any) -> list[dict[str, Any]]:
    """The items of *given*, the field `input` of a body that was found right, each with an id.

    Args:
        response: the answer's id, from which those of the items follow.
    """
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    rest = response.removeprefix("resp_")
    return [_item(item, f"in{number}_{rest}") for number, item in enumerate(items)]


def page_of(items: Sequence[Mapping[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    """The list that a client asks for.

    Args:
        items: all, in their order.
        query: `limit` (1 to 100), `order` ("desc", the last first, or "asc") and `after`, the id
            of the item behind which the list begins.

    Raises:
        FieldRefused: names the one of these that cannot be so.
    """
    limit, order = _limit(query.get("limit", str(_USUAL))), query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise FieldRefused("order", "order must be asc or desc")
    ordered = list(items) if order == "asc" else list(reversed(items))
    begin, after = 0, query.get("after")
    if after is not None:
        ids = [item["id"] for item in ordered]
        if after not in ids:
            raise FieldRefused("after", "after must be the id of an item of this input")
        begin = ids.index(after) + 1
    found = ordered[begin : begin + limit]
    return {
        "object": "list",
        "data": found,
        "first_id": found[0]["id"] if found else None,
        "last_id": found[-1]["id"] if found else None,
        "has_more": begin + limit < len(ordered),
    }


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= _MOST:
        raise FieldRefused("limit", f"limit must be a number from 1 to {_MOST}")
    return int(text[:9])


def _item(item: Mapping[str, Any], id_: str) -> dict[str, Any]:
    kind = item.get("type", "message")
    if kind == "function_call":
        fields = {name: item.get(name) for name in ("call_id", "name", "arguments")}
        return {"id": f"fc_{id_}", "type": kind, "status": _COMPLETED, **fields}
    if kind == "function_call_output":
        fields = {"call_id": item["call_id"], "output": "".join(_texts(item["output"]))}
        return {"id": f"fco_{id_}", "type": kind, "status": _COMPLETED, **fields}
    role = item["role"]
    return {
        "id": f"msg_{id_}",
        "type": "message",
        "status": _COMPLETED,
        "role": role,
        "content": [_part(role, text) for text in _texts(item["content"])],
    }


def _part(role: str, text: str) -> dict[str, Any]:
    if role == "assistant":
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "input_text", "text": text}


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [str(part.get("text", "")) for part in content]
