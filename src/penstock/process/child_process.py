"""How a role starts another one: nothing of the working directory, and no secret in sight.

``python -m`` imports from the working directory before all else: a ``random.py`` that lies there
would be run in the library's place. ``-P`` leaves it out. Secrets go in the environment, which only
the same user can read.
"""

import json
import os
import sys
from collections.abc import Sequence
from typing import Final

REDIS: Final = "PENSTOCK_REDIS"
RULES: Final = "PENSTOCK_GRPC_RESTRICTED_PROTOCOL"
PARENT_KEY: Final = "PENSTOCK_PARENT_KEY"
TOKEN: Final = "PENSTOCK_TOKEN"  # noqa: S105 - where it is, not what
SECRETS: Final = (REDIS, RULES, PARENT_KEY, TOKEN)
"""Variables that hold secrets. A role that has read its settings forgets them."""


def python_command(module: str, *words: str) -> list[str]:
    """The command line that runs *module* in a Python of its own."""
    return [sys.executable, "-P", "-m", module, *words]


def role_environment(
    redis: str, rules: Sequence[str] = (), *, parent_key: str | None = None
) -> dict[str, str]:
    """The environment of a role on the store *redis*, with the restricted protocols *rules*.

    The rest is that of this process, but for secrets.

    Args:
        parent_key: by which this process may ask the role how it is.
    """
    made = {**without_secrets(), REDIS: redis}
    if rules:
        made[RULES] = json.dumps(list(rules))
    if parent_key:
        made[PARENT_KEY] = parent_key
    return made


def without_secrets() -> dict[str, str]:
    """This process's environment, but for secrets."""
    return {name: value for name, value in os.environ.items() if name not in SECRETS}


def forget_secrets() -> None:
    """Take secrets out of this process's environment: what it starts does not inherit them."""
    for name in SECRETS:
        os.environ.pop(name, None)
