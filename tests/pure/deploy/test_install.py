"""What uv is told when `make setup` installs: what pip would go by."""

import importlib.util
from pathlib import Path

TOOL = Path(__file__).parents[3] / "tools" / "install.py"
SPEC = importlib.util.spec_from_file_location("install", TOOL)
install = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(install)

LISTED = """\
:env:.find-links='/here /there'
:env:.cert='/certs.pem'
global.constraint='/constraints.txt'
global.find-links='/elsewhere'
global.extra-index-url='https://a.example/simple\\nhttps://b.example/simple'
global.timeout='60'
"""


def test_where_packages_come_from_is_the_same():
    options, variables = install.options_from(LISTED)

    assert options == [
        *("--find-links", "/here", "--find-links", "/there"),
        *("--index", "https://a.example/simple", "--index", "https://b.example/simple"),
        *("--constraint", "/constraints.txt"),
        *("--index-strategy", "unsafe-best-match"),
    ]
    assert variables == {"SSL_CERT_FILE": "/certs.pem"}


def test_a_setting_of_another_command_is_none_of_its():
    assert install.options_from("download.find-links='/x'\nfreeze.all='yes'\n") == ([], {})


def test_where_pip_has_no_settings_uv_has_its_own():
    assert install.options_from("") == ([], {})
