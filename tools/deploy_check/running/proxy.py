"""haproxy in front of gateways, as a Service is: it spreads connections and reads nothing."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from deploy_check.check import Wrong
from deploy_check.running.engine import wait_for
from deploy_check.running.stores import free_ports

_PLACES = 12
_SETTINGS = """\
global
    stats socket {socket} level admin
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    option redispatch
frontend clients
    bind {address}
    default_backend gateways
backend gateways
    balance roundrobin
"""


class Proxy:
    """What spreads connections over gateways.

    Attributes:
        address: where clients connect.
    """

    def __init__(self, address: str, control: Path) -> None:
        self.address = address
        self._control = control
        self._free = [f"gateways/place{number}" for number in range(_PLACES)]
        self._places: dict[int, str] = {}

    def add(self, port: int) -> None:
        """New connections may go to the gateway at *port* from now on."""
        place = self._places[port] = self._free.pop()
        self._say(f"set server {place} addr 127.0.0.1 port {port}")
        self._say(f"set server {place} state ready")

    def remove(self, port: int) -> None:
        """No new connection goes there any more; those that are open stay."""
        self._say(f"set server {self._places.pop(port)} state drain")

    def _say(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self._control))
            connection.sendall(f"{command}\n".encode())
            answer = connection.makefile().read()
        if "No such" in answer or "Unknown" in answer:
            raise Wrong(f"haproxy: {command}: {answer}")
        return answer


@contextlib.contextmanager
def proxy(folder: Path) -> Iterator[Proxy]:
    """haproxy, with no gateway yet, until the end of the block."""
    (port,) = free_ports(1)
    control, settings = folder / "haproxy.sock", folder / "haproxy.cfg"
    address = f"127.0.0.1:{port}"
    places = [f"    server place{number} 127.0.0.1:9 disabled\n" for number in range(_PLACES)]
    settings.write_text(_SETTINGS.format(socket=control, address=address) + "".join(places))
    process = subprocess.Popen(
        ["haproxy", "-db", "-q", "-f", str(settings)], stdin=subprocess.DEVNULL
    )
    try:
        wait_for("haproxy listens", control.exists)
        yield Proxy(address, control)
    finally:
        process.kill()
        process.wait()
