"""The store, as commands have it that work on it directly."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer

from penstock.errors import InvalidConfiguration
from penstock.transport.store_files import NEED_URL, StoreFiles, with_files

Redis = Annotated[
    str | None,
    typer.Option(
        envvar="PENSTOCK_REDIS",
        metavar="URL",
        show_envvar=False,
        help="The cluster's Redis or Valkey. Required, unless PENSTOCK_REDIS is set.",
    ),
]


OrGateway = Annotated[
    str | None,
    typer.Option(
        envvar="PENSTOCK_REDIS",
        metavar="URL",
        show_envvar=False,
        help="Work on the cluster's Redis or Valkey itself, and ask no gateway.",
    ),
]


class _File(NamedTuple):
    """An option of a file beside the store's URL."""

    field: str
    help: str

    @property
    def name(self) -> str:
        return f"redis_{self.field}"

    def parameter(self) -> inspect.Parameter:
        option = typer.Option(
            f"--{self.name.replace('_', '-')}",
            envvar=f"PENSTOCK_{self.name.upper()}",
            metavar="FILE",
            show_envvar=False,
            help=self.help,
        )
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[Path | None, option],
        )


_FILES: Final = (
    _File("ca", "Authorities of a rediss:// server's certificate."),
    _File("cert", "Certificate to prove oneself with to Redis."),
    _File("key", "Its private key."),
    _File("password_file", "A file with the password of Redis."),
)
"""As roles have them (`StoreSettings`)."""


def on_store(command: Callable[..., None]) -> Callable[..., None]:
    """*command*, which has a `redis`, with options of the files that its URL may need.

    It is given the URL that names them.
    """

    @functools.wraps(command)
    def run(**options: Any) -> None:
        files = StoreFiles(**{one.field: options.pop(one.name) for one in _FILES})
        if options["redis"] is not None:
            options["redis"] = with_files(options["redis"], files)
        elif any(files):
            raise InvalidConfiguration(NEED_URL)
        command(**options)

    signature = inspect.signature(command, eval_str=True)
    last = list(signature.parameters.values())
    at = [one.name for one in last].index("redis") + 1
    last[at:at] = [one.parameter() for one in _FILES]
    vars(run)["__signature__"] = signature.replace(parameters=last)
    run.__annotations__ = {one.name: one.annotation for one in last}
    return run


def url_of(redis: str | None) -> str:
    """Where the store is.

    Raises:
        InvalidConfiguration: nobody has said it.
    """
    from penstock.process.redaction import keep_password

    if redis is None:
        raise InvalidConfiguration(
            "this is kept in the cluster's store: name it by PENSTOCK_REDIS or with --redis "
            "('penstock up --auth keys' says where its own is)"
        )
    keep_password(redis)
    return redis
