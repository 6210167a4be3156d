"""What a process writes to its log can be changed while it runs."""

from dataclasses import replace

import pytest
import structlog

from penstock.errors import InvalidRequest, Unimplemented
from penstock.gateway.operations.log_settings import log_changes, logging_with, shown_logging
from penstock.protos import grpc_service_pb2 as pb
from penstock.telemetry import configure_logging, current_logging, use_logging


@pytest.fixture(autouse=True)
def _own_log():
    """A log of the test's own: `configure_logging` is for processes."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def changed(request):
    use_logging(replace(current_logging(), **logging_with(log_changes(request))))
    return shown_logging(current_logging()).settings


def change(**settings):
    request = pb.LogSettingsRequest()
    for name, value in settings.items():
        kinds = {bool: "bool_param", int: "uint32_param", str: "string_param"}
        setattr(request.settings[name], kinds[type(value)], value)
    return changed(request)


def written(capsys):
    log = structlog.get_logger()
    for level in ("debug", "info", "warning", "error"):
        getattr(log, level)(f"an {level}")
    told = capsys.readouterr().err
    return {level for level in ("debug", "info", "warning", "error") if f"an {level}" in told}


def test_a_level_includes_those_above_it(capsys):
    configure_logging("gateway", level="warning")

    assert written(capsys) == {"warning", "error"}


def test_levels_can_be_switched_on_and_off(capsys):
    configure_logging("gateway", level="info")

    told = change(log_info=False, log_verbose_level=1)

    assert written(capsys) == {"debug", "warning", "error"}
    assert not told["log_info"].bool_param
    assert told["log_warning"].bool_param
    assert told["log_verbose_level"].uint32_param == 1


def test_a_logger_that_was_used_before_obeys_too(capsys):
    configure_logging("gateway", level="error")
    log = structlog.get_logger()
    log.info("unheard")
    change(log_info=True)

    log.info("heard")

    told = capsys.readouterr().err
    assert "unheard" not in told
    assert "heard" in told


def test_times_can_be_written_in_full(capsys):
    configure_logging("gateway")
    change(log_format="ISO8601")

    structlog.get_logger().warning("now")

    assert "T" in capsys.readouterr().err.split()[0]


def test_without_values_nothing_changes():
    configure_logging("gateway", level="warning")
    before = current_logging()
    request = pb.LogSettingsRequest()
    _ = request.settings["log_info"]

    settings = changed(request)

    assert current_logging() == before
    assert set(settings) == {
        *("log_file", "log_info", "log_warning", "log_error", "log_verbose_level", "log_format"),
    }


@pytest.mark.parametrize(
    ("name", "value", "error", "text"),
    [
        ("colour", "blue", InvalidRequest, "there is no log setting 'colour'"),
        ("log_info", 1, InvalidRequest, "expect log setting 'log_info' to be bool_param"),
        ("log_format", "roman", InvalidRequest, "log_format 'roman' is none of default, ISO8601"),
        ("log_file", "/etc/passwd", Unimplemented, "can not be updated through network protocol"),
    ],
)
def test_what_cannot_be_changes_nothing(name, value, error, text):
    configure_logging("gateway", level="info")

    with pytest.raises(error, match=text):
        change(log_warning=False, **{name: value})

    assert current_logging().warning
