"""The command ``penstock``, and ``python -m penstock``."""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # Python put the working directory there, for -m: a random.py in it would be run.
    del sys.path[0]
import io
import traceback
from types import TracebackType

from penstock.process.lifetime import INTERRUPTED, end_if_told_early, quiet_libraries, tune_gc
from penstock.process.redaction import hide_arguments, redacted


def main() -> None:
    """Run the command line and end the process with its status."""
    end_if_told_early()
    hide_arguments()
    _write_what_the_terminal_can()
    sys.excepthook = _print_error
    tune_gc()
    quiet_libraries()
    try:
        from penstock.cli.app import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("penstock"):
            raise
        sys.exit(
            f"penstock: the command line needs '{error.name}', which the light client does not: "
            "pip install 'penstock[server]'"
        )
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    run(sys.argv[1:])


def _write_what_the_terminal_can() -> None:
    """Show as a number each letter that the terminal lacks; the name of a model may have some."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print_error(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Write what Python writes of an error that nobody caught, but for secrets."""
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))


if __name__ == "__main__":
    main()
