"""Canaries: secrets that tests plant, and which no log and no error of a whole run may hold.

Keys and tokens are known by their form, whichever test made them. Passwords and the values of
restricted protocols are planted: they begin with `PLANTED`.
"""

import re
from pathlib import Path

PLANTED = "canary-"

PASSWORD = f"{PLANTED}of-the-store-9c41"
"""Of stores that many tests use."""

FORMS = {
    "an API key": re.compile(r"psk_[a-z2-7]{10}_[a-z2-7]{52}"),
    "a token": re.compile(r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{16,}", re.ASCII),
    "a planted secret": re.compile(rf"{PLANTED}[\w-]+", re.ASCII),
}

LOGS = re.compile(r"log|.*\.log(\.\d+)?|traces?.*|access.*|report.*\.json|history.*")
"""Names of the files that processes write what they say into."""

_SHOWN = 12
"""Characters of a secret that a complaint repeats."""


def secrets_in(text):
    """What secrets *text* holds, each by its kind and its beginning."""
    return sorted(
        {
            f"{kind} ({found[0][:_SHOWN]}...)"
            for kind, form in FORMS.items()
            for found in form.finditer(text)
        }
    )


def logs_below(folder):
    """The files below *folder* that are logs."""
    return [
        path for path in Path(folder).rglob("*") if LOGS.fullmatch(path.name) and path.is_file()
    ]


def secrets_below(folder):
    """Log -> what secrets it holds, of those that hold any."""
    found = {}
    for path in logs_below(folder):
        with path.open(errors="replace") as log:
            # Line by line: some are large.
            secrets = {one for line in log for one in secrets_in(line)}
        if secrets:
            found[str(path)] = sorted(secrets)
    return found
