"""Secrets are in no text that others can read."""

import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from penstock.gateway.access.api_key import mint
from penstock.options import load
from penstock.process.redaction import keep_password, redacted
from penstock.settings import GatewaySettings
from penstock.telemetry import Logging, configure_logging, use_logging

SECRET = "swordfish-1"  # noqa: S105 - it is none
SLEEP = "import sys; from penstock.process.redaction import hide_arguments; hide_arguments(); "


def test_of_a_key_its_id_alone_is_left():
    secret = mint("a" * 10).text

    shown = redacted(f"'{secret}', penstock keys revoke {secret}.")

    assert shown == "'psk_aaaaaaaaaa_***', penstock keys revoke psk_aaaaaaaaaa_***."


@pytest.mark.parametrize(
    "text",
    [
        "redis://:{}@host",
        "cannot reach rediss://me:{}@host:1/0: no",
        "redis+cluster://me:{}@h1,h2",
        "redis://host?password={}&db=1",
        "unix://a:{}@/tmp/x.sock",
        "'redis://:a@{}@host'",
        "--grpc-restricted-protocol=health,trace:admin={}",
        "--grpc-restricted-protocol health:admin={} --port 1",
        "PENSTOCK_GRPC_RESTRICTED_PROTOCOL=health:a={};trace:b={}",
    ],
)
def test_secrets_are_left_out_of_texts(text):
    shown = redacted(text.replace("{}", SECRET))

    assert SECRET not in shown
    assert shown.count("***") >= 1
    assert shown[:5] == text[:5]


@pytest.mark.parametrize(
    "text", ["redis://host:6379/0", "a@b.c", "http://h:1/ and a@b", "key=value", "trace:a=b"]
)
def test_what_holds_none_stays(text):
    assert redacted(text) == text


def test_a_known_password_is_left_out_wherever_it_stands():
    keep_password("redis://:pa%40ss%2Fword@host")

    assert redacted("pa@ss/word, pa%40ss%2Fword") == "***, ***"


@pytest.fixture
def _own_log():
    yield
    use_logging(Logging())
    structlog.reset_defaults()


@pytest.mark.usefixtures("_own_log")
def test_logs_hold_no_secret(capsys):
    configure_logging("test")
    try:
        int(f"redis://:{SECRET}@host")
    except ValueError:
        structlog.get_logger().exception("failed", urls=[f"redis://:{SECRET}@host"])

    written = capsys.readouterr().err
    assert "redis://:***@host" in written
    assert SECRET not in written


def test_settings_show_no_secret():
    settings = load(
        GatewaySettings,
        redis=f"redis://:{SECRET}@h",
        grpc_restricted_protocol=(f"health:a={SECRET}",),
    )

    assert SECRET not in repr(settings)


@pytest.mark.skipif(sys.platform != "linux", reason="a process cannot change its words elsewhere")
def test_a_command_line_loses_its_secrets_and_nothing_else():
    words = ["--redis", f"redis://:{SECRET} 2@host", "--grpc-restricted-protocol", f"a:b={SECRET}"]
    program = SLEEP + "print(sys.argv, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, *words, "--port", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        told = process.stdout.readline()
        shown = Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")
        process.communicate("")

    assert SECRET in told
    assert SECRET not in " ".join(shown)
    assert shown[3:] == [
        "--redis",
        f"redis://:{'*' * (len(SECRET) + 2)}@host",
        "--grpc-restricted-protocol",
        f"a:b={'*' * len(SECRET)}",
        *("--port", "1", ""),
    ]
