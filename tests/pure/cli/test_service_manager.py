"""systemd is told when a role serves, as its units ask for (`Type=notify`)."""

import os
import socket

import pytest

from penstock.process.lifetime import say_ready


@pytest.mark.parametrize("abstract", [False, True], ids=["a file", "an abstract name"])
def test_it_hears_once_that_the_role_serves(tmp_path, monkeypatch, abstract):
    name = f"@penstock-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0", 1))
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name)

        say_ready(tmp_path / "ready", "127.0.0.1:8001")

        assert manager.recv(100) == b"READY=1"
    assert (tmp_path / "ready").read_text() == "127.0.0.1:8001"
    assert "NOTIFY_SOCKET" not in os.environ


@pytest.mark.parametrize("name", ["", "/nowhere/at/all"])
def test_one_that_is_not_there_stops_nobody(tmp_path, monkeypatch, name):
    monkeypatch.setenv("NOTIFY_SOCKET", name)

    say_ready(tmp_path / "ready", "here")

    assert (tmp_path / "ready").read_text() == "here"
