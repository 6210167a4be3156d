"""The command line: help that lists everything, and errors on one line."""

import re

import pytest
import typer
from support.processes.commands import WIDTH, invoke, spawn, too_wide
from typer.testing import CliRunner

from penstock import __version__
from penstock.cli.app import COMMANDS, _guarded
from penstock.errors import InvalidConfiguration
from penstock.process.lifetime import INTERRUPTED

NAMES = [entry.name for entry in COMMANDS]


def run_guarded(raising):
    """What a command that raises this gives."""

    def command():
        raise raising

    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(_guarded(command))
    return CliRunner().invoke(app, [])


class TestHelp:
    @pytest.mark.parametrize("arguments", [["--help"], ["-h"]])
    def test_lists_each_command_with_a_line(self, arguments):
        result = invoke(*arguments)

        assert result.exit_code == 0
        for entry in COMMANDS:
            assert re.search(rf"{entry.name} +{re.escape(entry.line)}", result.stdout)
        assert too_wide(result.stdout) == []

    def test_is_what_comes_without_a_command(self):
        result = invoke()

        assert "Run a cluster" in result.output
        assert "Use a cluster" in result.output

    @pytest.mark.parametrize("name", NAMES)
    def test_of_each_command_fits_the_screen(self, name):
        result = invoke(name, "--help")

        assert result.exit_code == 0, result.output
        assert f"Usage: penstock {name}" in result.stdout
        assert too_wide(result.stdout) == []

    def test_imports_no_command_and_no_runtime(self):
        """It is the first thing that people see, and should come at once."""
        result = spawn("--help", without=["torch", "onnxruntime", "onnx", "numpy", "grpc", "redis"])

        assert (result.returncode, result.stderr) == (0, "")

    def test_lines_are_short(self):
        assert max(len(entry.line) for entry in COMMANDS) < WIDTH - 15


def test_the_version_is_that_of_the_package():
    assert invoke("--version").stdout == f"penstock {__version__}\n"


def test_an_unknown_command_is_a_usage_error():
    result = invoke("shrad")

    assert result.exit_code == 2
    assert "No such command 'shrad'" in result.stderr


def test_a_terminal_that_lacks_a_letter_shows_its_number(tmp_path):
    """`penstock up` ended when it first named such a model."""
    (tmp_path / "é-model").mkdir()
    ascii_only = {"PYTHONIOENCODING": "ascii"}

    result = spawn("check", tmp_path, "--no-load", environment=ascii_only)

    assert "\\xe9-model" in result.stdout
    assert "UnicodeEncodeError" not in result.stderr


class TestErrors:
    def test_are_one_line_on_standard_error(self):
        result = run_guarded(InvalidConfiguration("port 8001 is taken;\n  choose another"))

        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == "penstock: port 8001 is taken; choose another\n"

    @pytest.mark.parametrize(
        ("module", "remedy"),
        [
            ("torch", "'penstock[torch]'"),
            ("onnxruntime.capi", "'penstock[onnx]'"),
            ("redis", "'penstock[server]'"),
            ("matplotlib.pyplot", "matplotlib"),
        ],
    )
    def test_of_missing_modules_say_what_to_install(self, module, remedy):
        result = run_guarded(ModuleNotFoundError(f"No module named '{module}'", name=module))

        top = module.partition(".")[0]
        assert result.exit_code == 1
        assert result.stderr == (
            f"penstock: this needs '{top}', which is not installed: pip install {remedy}\n"
        )

    @pytest.mark.parametrize(
        "defect",
        [ValueError("x"), ModuleNotFoundError("No module named 'penstock.x'", name="penstock.x")],
    )
    def test_that_are_defects_are_not_hidden(self, defect):
        assert run_guarded(defect).exception is defect

    def test_an_interrupt_is_no_error(self):
        result = run_guarded(KeyboardInterrupt())

        assert (result.exit_code, result.output) == (INTERRUPTED, "")

    def test_without_the_extra_server_the_command_says_so(self):
        result = spawn("--help", without=["typer"])

        assert result.returncode == 1
        assert result.stderr == (
            "penstock: the command line needs 'typer', which the light client does not: "
            "pip install 'penstock[server]'\n"
        )
