"""Machines, as far as networks and processes go: namespaces of this one, a cable between two."""

import contextlib
import os
import subprocess

FIRST, SECOND = "10.231.17.1", "10.231.17.2"


def _ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Machine:
    """A network and a family of processes of its own.

    Attributes:
        address: of it, for the other one.
    """

    def __init__(self, name, address):
        self._name = name
        self.address = address

    @property
    def within(self):
        """What runs a command there."""
        apart = ("unshare", "--pid", "--mount-proc", "--fork", "--kill-child")
        return (*apart, "nsenter", f"--net=/run/netns/{self._name}")

    @contextlib.contextmanager
    def there(self):
        _ip("netns", "add", self._name)
        try:
            _ip("-n", self._name, "link", "set", "lo", "up")
            yield
        finally:
            _ip("netns", "delete", self._name)

    def plug_in(self):
        _ip("-n", self._name, "addr", "add", f"{self.address}/30", "dev", "cable")
        _ip("-n", self._name, "link", "set", "cable", "up")

    def cut(self):
        """Nothing comes or goes over the cable from now on, and nobody is told."""
        _ip("-n", self._name, "link", "set", "cable", "down")

    def mend(self):
        _ip("-n", self._name, "link", "set", "cable", "up")


@contextlib.contextmanager
def two_machines():
    """Two machines that reach each other, and no other address."""
    first, second = (
        Machine(f"penstock-{os.getpid()}-{number}", address)
        for number, address in enumerate((FIRST, SECOND))
    )
    with first.there(), second.there():
        ends = ("type", "veth", "peer", "name", "cable", "netns", second._name)
        _ip("link", "add", "cable", "netns", first._name, *ends)
        for one in (first, second):
            one.plug_in()
        yield first, second


def can_be_made():
    """Whether this user may make machines."""
    try:
        with two_machines() as (first, _):
            return subprocess.run([*first.within, "true"], check=False).returncode == 0
    except (OSError, subprocess.CalledProcessError):
        return False
