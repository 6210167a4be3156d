"""What ``penstock`` is forked from in tests, as a program: it has imported what its commands need.

It is the product's own template of roles, which has imported besides what other commands need, and
workers of ONNX models: a template, a node's as well, that is forked from it imports hardly more.
"""

import os
import sys
from importlib import import_module

from penstock import __main__ as penstock
from penstock.cli.app import COMMANDS
from penstock.cli.serve.template import ROLES
from penstock.process.command_line import ROOM
from penstock.process.lifetime import quiet_libraries, tune_gc
from penstock.workers.runtimes.opening import MODULES, ONNX

LATER = (
    "grpc._channel",
    "penstock.client",
    "penstock.cli.serve.local_cluster",
    "penstock.cli.serve.screen",
    "penstock.cli.tables",
    "penstock.loadgen.fleet",
    "penstock.workers.app",
    *MODULES[ONNX],
)
"""What commands import once they know that they need it."""


def main():
    """Import all of it, and be forked for whoever started this."""
    tune_gc()
    quiet_libraries()
    for entry in COMMANDS:
        import_module(f"penstock.cli.{entry.target.partition(':')[0]}")
    for name in LATER:
        import_module(name)
    sys.argv = [penstock.__file__, "template", ROLES, str(os.getppid()), ROOM]
    penstock.main()


if __name__ == "__main__":
    main()
