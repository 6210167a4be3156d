"""Variables of the environment that begin with ``PENSTOCK_``: settings, and what only looks so."""

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Final

PREFIX: Final = "PENSTOCK_"

_LINKS: Final = re.compile(
    r".+_SERVICE_HOST|.+_SERVICE_PORT(_.+)?|.+_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?"
)
"""What Kubernetes calls some variables that it sets in each container for each Service."""

_LINK: Final = re.compile(r"(tcp|udp|sctp)://\S+:\d+")
"""What it sets NAME_PORT to."""

_TESTS: Final = ("PENSTOCK_TEST_",)
_ALIKE: Final = 0.75


def own_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that begin with `PREFIX`, by their names in capitals.

    Without those that Kubernetes sets for a Service named penstock, or penstock-and-more: its
    PENSTOCK_PORT is an address, and nobody's setting.
    """
    found = {name.upper(): value for name, value in environment.items()}
    return {
        name: value
        for name, value in found.items()
        if name.startswith(PREFIX) and not _is_service_link(name, value)
    }


def unknown_variables(names: Collection[str], known: Collection[str]) -> Iterator[str]:
    """What is to be told of those *names* that are not *known*, each with the nearest that is."""
    for name in sorted(names):
        if name in known or name.startswith(_TESTS):
            continue
        near = get_close_matches(name, known, n=1, cutoff=_ALIKE)
        meant = f": did you mean {near[0]}?" if near else ""
        yield f"the variable {name} is no setting of Penstock{meant}"


def _is_service_link(name: str, value: str) -> bool:
    if _LINKS.fullmatch(name) is not None:
        return True
    return name.endswith("_PORT") and _LINK.fullmatch(value) is not None
