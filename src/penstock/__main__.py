"""The command ``penstock``, and ``python -m penstock``."""

import sys

from penstock.lifetime import INTERRUPTED, spare_collector


def main() -> None:
    """Run the command line and end the process with its status."""
    spare_collector()
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


if __name__ == "__main__":
    main()
