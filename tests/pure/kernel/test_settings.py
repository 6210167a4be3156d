"""Settings come from options, then from the environment; nonsense is refused by its name."""

import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from penstock.cli.serve.options import on_settings
from penstock.errors import InvalidConfiguration
from penstock.options import command_line, load
from penstock.settings import (
    GatewaySettings,
    NodeSettings,
    SchedulerSettings,
    UpSettings,
    WorkerSettings,
)

GIVEN = {
    GatewaySettings: {"redis": "redis://h"},
    SchedulerSettings: {"redis": "redis://h"},
    NodeSettings: {"redis": "redis://h", "models": "models"},
    WorkerSettings: {"redis": "redis://h", "models": "models", "model": "m", "version": 1},
    UpSettings: {},
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """No variables of whoever runs the tests."""
    for name in [name for name in os.environ if name.upper().startswith("PENSTOCK_")]:
        monkeypatch.delenv(name)


def refusal(kind, **options):
    with pytest.raises(InvalidConfiguration) as caught:
        load(kind, **(GIVEN[kind] | options))
    return str(caught.value)


class TestSources:
    def test_a_default(self):
        settings = load(GatewaySettings, redis="redis://h")

        assert (settings.host, settings.port, settings.processes) == ("127.0.0.1", 8001, 1)
        assert (settings.default_timeout_s, settings.server_name) == (60.0, "triton")

    def test_the_environment_wins_over_the_default(self, monkeypatch):
        monkeypatch.setenv("PENSTOCK_REDIS", "redis://there")
        monkeypatch.setenv("PENSTOCK_DEFAULT_TIMEOUT_S", "2.5")
        monkeypatch.setenv("PENSTOCK_LOG_JSON", "true")

        settings = load(GatewaySettings)

        assert settings.redis == "redis://there"
        assert settings.default_timeout_s == 2.5
        assert settings.log_json is True

    def test_an_option_wins_over_the_environment(self, monkeypatch):
        monkeypatch.setenv("PENSTOCK_PORT", "1")

        assert load(UpSettings, port=2).port == 2

    def test_an_option_of_none_was_not_given(self, monkeypatch):
        monkeypatch.setenv("PENSTOCK_PORT", "1")

        assert load(UpSettings, port=None, host=None).port == 1
        assert load(UpSettings, host=None).host == "127.0.0.1"

    def test_variables_of_other_roles_do_not_matter(self, monkeypatch):
        monkeypatch.setenv("PENSTOCK_LEASE_MS", "nonsense")

        assert load(GatewaySettings, redis="redis://h").redis == "redis://h"

    def test_paths_are_paths(self):
        assert load(UpSettings, models="a/b", data="d").models == (Path("a/b"),)
        assert load(UpSettings).data is None

    def test_repositories_may_be_several(self, monkeypatch):
        monkeypatch.setenv("PENSTOCK_MODELS", "a:b/c")

        assert load(UpSettings).models == (Path("a"), Path("b/c"))
        assert load(UpSettings, models=[Path("d"), Path("e")]).models == (Path("d"), Path("e"))
        assert load(UpSettings, models=[]).models == (Path("a"), Path("b/c"))

    def test_models_to_load_may_be_several(self, monkeypatch):
        monkeypatch.setenv("PENSTOCK_LOAD_MODEL", "a,b")

        assert load(UpSettings).load_model == ("a", "b")
        assert load(UpSettings, load_model=["c"]).load_model == ("c",)

    @pytest.mark.parametrize("kind", GIVEN)
    def test_nobody_changes_them_afterwards(self, kind):
        settings = load(kind, **GIVEN[kind])

        with pytest.raises(ValueError, match="frozen"):
            settings.log_level = "debug"


LINKS = {
    "PENSTOCK_SERVICE_HOST": "10.0.0.11",
    "PENSTOCK_SERVICE_PORT": "8001",
    "PENSTOCK_SERVICE_PORT_GRPC": "8001",
    "PENSTOCK_PORT": "tcp://10.0.0.11:8001",
    "PENSTOCK_PORT_8001_TCP": "tcp://10.0.0.11:8001",
    "PENSTOCK_PORT_8001_TCP_PROTO": "tcp",
    "PENSTOCK_PORT_8001_TCP_PORT": "8001",
    "PENSTOCK_PORT_8001_TCP_ADDR": "10.0.0.11",
    "PENSTOCK_METRICS_PORT": "tcp://[fd00::11]:8002",
    "PENSTOCK_REDIS_PORT_6379_UDP": "udp://10.0.0.12:6379",
}
"""What Kubernetes sets for Services named penstock, penstock-metrics and penstock-redis."""


class TestVariables:
    def test_those_that_kubernetes_sets_for_a_service_are_no_settings(self, monkeypatch):
        for name, value in LINKS.items():
            monkeypatch.setenv(name, value)
        seen = []
        app = typer.Typer()
        app.command()(on_settings(UpSettings)(seen.append))

        ended = CliRunner().invoke(app, [])

        assert (ended.exit_code, ended.output) == (0, "")
        assert (seen[0].port, seen[0].metrics_port) == (8001, None)

    def test_a_port_that_is_no_address_is_a_setting_still(self, monkeypatch):
        monkeypatch.setenv("PENSTOCK_PORT", "tcp")

        assert "--port (PENSTOCK_PORT)" in refusal(UpSettings)

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("PENSTOCK_PROT", ": did you mean PENSTOCK_PORT?"),
            ("PENSTOCK_DEFAULT_TIMEOUT", ": did you mean PENSTOCK_DEFAULT_TIMEOUT_S?"),
            ("penstock_hots", ": did you mean PENSTOCK_HOST?"),
            ("PENSTOCK_COLOUR_OF_THE_WALL", ""),
        ],
    )
    def test_one_that_means_nothing_is_named_with_what_may_be_meant(self, monkeypatch, name, told):
        monkeypatch.setenv(name, "1")
        app = typer.Typer()
        app.command()(on_settings(UpSettings)(lambda _: None))

        ended = CliRunner().invoke(app, [])

        line = f"the variable {name.upper()} is no setting of Penstock{told}\n"
        assert (ended.exit_code, ended.output) == (0, line)

    def test_what_another_role_started_says_nothing(self, monkeypatch):
        monkeypatch.setenv("PENSTOCK_PROT", "1")
        app = typer.Typer()
        app.command()(on_settings(SchedulerSettings)(lambda _: None))

        ended = CliRunner().invoke(app, ["--redis", "redis://h", "--parent-pid", "1"])

        assert (ended.exit_code, ended.output) == (0, "")

    def test_an_ipv6_address_may_have_its_brackets(self):
        assert load(UpSettings, host="[::1]").host == "::1"


class TestRefused:
    @pytest.mark.parametrize(
        ("kind", "option", "value", "why"),
        [
            (GatewaySettings, "port", 65536, "Input should be less than or equal to 65535"),
            (GatewaySettings, "port", "http", "Input should be a valid integer, unable to parse"),
            (GatewaySettings, "processes", 0, "Input should be greater than or equal to 1"),
            (GatewaySettings, "default_timeout_s", 0, "Input should be greater than 0"),
            (GatewaySettings, "default_timeout_s", "inf", "Input should be a finite number"),
            (GatewaySettings, "drain_s", -1, "Input should be greater than or equal to 0"),
            (GatewaySettings, "drain_s", "nan", "Input should be"),
            (GatewaySettings, "drain_s", "inf", "Input should be a finite number"),
            (GatewaySettings, "max_message_mib", 0, "Input should be greater than or equal to 1"),
            (SchedulerSettings, "repository_poll_secs", -1, "Input should be greater than 0"),
            (NodeSettings, "threads", 0, "Input should be greater than or equal to 1"),
            (NodeSettings, "memory_mib", 0, "Input should be greater than or equal to 1"),
            (SchedulerSettings, "model_control_mode", "all", "Input should be 'none', 'poll'"),
            (WorkerSettings, "version", 0, "Input should be greater than or equal to 1"),
            (WorkerSettings, "stage", -1, "Input should be greater than or equal to 0"),
            (WorkerSettings, "device", "gpu:0", "String should match pattern"),
            (WorkerSettings, "device", "cuda", "String should match pattern"),
            (WorkerSettings, "lease_ms", 199, "Input should be greater than or equal to 200"),
            (NodeSettings, "lease_ms", 199, "Input should be greater than or equal to 200"),
            (UpSettings, "lease_ms", 199, "Input should be greater than or equal to 200"),
            (UpSettings, "log_level", "loud", "Input should be 'debug', 'info', 'warning'"),
        ],
    )
    def test_a_value_that_cannot_be(self, kind, option, value, why):
        told = refusal(kind, **{option: value})

        names = f"--{option.replace('_', '-')} (PENSTOCK_{option.upper()})"
        assert told.startswith(f"{names}: {why}")
        assert told.endswith(f", not {value!r}")

    def test_a_variable_that_cannot_be(self, monkeypatch):
        monkeypatch.setenv("PENSTOCK_MAX_MESSAGE_MIB", "lots")

        assert refusal(GatewaySettings) == (
            "--max-message-mib (PENSTOCK_MAX_MESSAGE_MIB): Input should be a valid integer, "
            "unable to parse string as an integer, not 'lots'"
        )

    def test_an_empty_variable_is_no_number(self, monkeypatch):
        monkeypatch.setenv("PENSTOCK_PORT", "")

        assert "--port (PENSTOCK_PORT)" in refusal(UpSettings)

    def test_all_that_is_missing_is_told_at_once(self):
        with pytest.raises(InvalidConfiguration) as caught:
            load(NodeSettings)

        assert str(caught.value) == (
            "--redis (PENSTOCK_REDIS): is required; --models (PENSTOCK_MODELS): is required"
        )

    def test_an_option_that_there_is_not(self):
        told = refusal(UpSettings, colour="blue")

        assert told == "--colour (PENSTOCK_COLOUR): Extra inputs are not permitted, not 'blue'"


def parsed(kind, words):
    """What a command on *kind* is given by these words."""
    seen = []
    app = typer.Typer()
    app.command()(on_settings(kind)(seen.append))
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return seen[0]


class TestCommandLines:
    @pytest.mark.parametrize(
        ("kind", "given"),
        [
            (
                GatewaySettings,
                {
                    "port": 0,
                    "max_memory_mib": 100,
                    "drain_s": 0.5,
                    "host": "::1",
                    "direct": False,
                    "metrics": True,
                    "log_json": True,
                    "shared_port": False,
                    "allow_client_shm": True,
                    "grpc_keepalive_permit_without_calls": False,
                    "trace_file": Path("/a b/c"),
                    "log_level": "error",
                },
            ),
            (
                UpSettings,
                {
                    "models": (Path("/a:b"), Path("/c")),
                    "load_model": ("one,two", "*"),
                    "model_control_mode": "on-demand",
                    "allow_python_models": True,
                },
            ),
        ],
    )
    def test_a_child_has_the_settings_that_its_words_say(self, kind, given, monkeypatch):
        if kind is GatewaySettings:
            monkeypatch.setenv("PENSTOCK_REDIS", "redis://h")

        settings = parsed(kind, command_line(kind, given))

        assert {name: getattr(settings, name) for name in given} == given

    def test_secrets_and_what_is_left_open_are_not_among_them(self):
        settings = load(GatewaySettings, redis="redis://h", grpc_restricted_protocol=["health:a=b"])

        words = command_line(GatewaySettings, dict(settings))

        assert not [
            word for word in words if "redis" in word or "health:" in word or "None" in word
        ]

    def test_what_another_role_has_is_left_out(self):
        words = command_line(SchedulerSettings, dict(load(UpSettings, models="/m", port=5)))

        assert sorted(words) == [
            *("--log-level=warning", "--model-control-mode=poll", "--models=/m"),
            *("--repository-poll-secs=2.0", "--response-cache-bytes=67108864"),
        ]

    def test_facts_of_one_process_are_not_inherited(self, monkeypatch):
        monkeypatch.setenv("PENSTOCK_READY_FILE", "/ready")

        assert parsed(UpSettings, []).ready_file == Path("/ready")
        assert "PENSTOCK_READY_FILE" not in os.environ

    @pytest.mark.parametrize("kind", GIVEN)
    def test_every_option_has_its_help(self, kind):
        assert [name for name, field in kind.model_fields.items() if not field.description] == []


class TestHops:
    """Where a machine's workers are reached from others."""

    @pytest.mark.parametrize("kind", [NodeSettings, WorkerSettings])
    def test_who_can_be_reached_from_other_machines_has_certificates(self, kind):
        told = refusal(kind, hop_host="10.0.0.2")

        assert told.startswith(
            "--hop-host 10.0.0.2 can be reached from other machines, and everybody there could "
            "call it"
        )
        assert told.endswith("or say --insecure, where nobody else can reach this network")
        pair = {"hop_cert": "c", "hop_key": "k", "hop_ca": "a"}
        for given in ({"insecure": True}, pair):
            assert load(kind, **GIVEN[kind], hop_host="10.0.0.2", **given).hop_host == "10.0.0.2"
        for host in ("127.0.0.1", "localhost", "[::1]"):
            assert load(kind, **GIVEN[kind], hop_host=host).hop_files() is None

    @pytest.mark.parametrize(
        ("given", "why"),
        [
            ({"hop_cert": "c", "hop_key": "k"}, "are given together"),
            ({"hop_ca": "a"}, "are given together"),
            ({"hop_cert": "c", "hop_key": "k", "hop_ca": "a"}, "need --hop-host"),
            ({"hop_ports": "40000-40031"}, "need --hop-host"),
            ({"hop_host": "0.0.0.0", "insecure": True}, "is no address that"),  # noqa: S104
            ({"hop_host": "[::]", "insecure": True}, "is no address that others can call"),
            ({"hop_host": "::1", "hop_name": "n"}, "give --hop-cert as well"),
            ({"hop_ports": "40031-40000"}, "--hop-ports (PENSTOCK_HOP_PORTS)"),
            ({"hop_ports": "a-b"}, "no range of ports such as 40000-40031"),
            ({"hop_ports": "1-65536"}, "no range of ports such as 40000-40031"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, given, why):
        assert why in refusal(NodeSettings, **given)
