"""A secret in a log is found, whichever kind it is, and what is redacted is not taken for one."""

import pytest
from support.processes.canaries import PASSWORD, secrets_below, secrets_in

from penstock.gateway.access.api_key import mint, new_id
from penstock.process.redaction import redacted

TOKEN = f"eyJ{'a' * 20}.eyJ{'b' * 40}.{'c' * 86}"


@pytest.fixture(params=["an API key", "a token", "a planted secret"])
def secret(request):
    """A new one of each kind; not by the name of its test, which is in a report."""
    return {
        "an API key": mint(new_id()).text,
        "a token": TOKEN,
        "a planted secret": PASSWORD,
    }[request.param], request.param


def test_a_secret_in_a_log_is_found_and_not_repeated(secret, tmp_path):
    text, kind = secret
    folder = tmp_path / "cluster-0"
    folder.mkdir()
    log = folder / "elsewhere"
    log.write_text(f"10:22:31 [info] a call header='Bearer {text}'\nand more\n")
    assert secrets_below(tmp_path) == {}
    log = log.rename(folder / "gateway-7.log")

    (found,) = secrets_below(tmp_path)[str(log)]

    log.unlink()
    assert found.startswith(kind)
    assert text not in found


def test_what_is_redacted_is_no_secret():
    key = mint(new_id()).text

    assert secrets_in(redacted(f"who has {key} is let in to redis://:{PASSWORD}@host")) == []
    assert secrets_in(key[:14]) == []
