"""The store, as commands have it that work on it directly."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from penstock.errors import InvalidConfiguration
from penstock.transport.store_files import NEED_URL, StoreFiles, with_files


def redis_option(text: str) -> Any:
    """The option --redis, of which help says *text*."""
    return typer.Option(envvar="PENSTOCK_REDIS", metavar="URL", show_envvar=False, help=text)


Redis = Annotated[
    str | None,
    redis_option("The cluster's Redis or Valkey. Required, unless PENSTOCK_REDIS is set."),
]
OrGateway = Annotated[
    str | None, redis_option("Work on the cluster's Redis or Valkey itself, and ask no gateway.")
]

_FILES: Final = {
    "redis_ca": "Authorities of a rediss:// server's certificate.",
    "redis_cert": "Certificate to prove oneself with to Redis.",
    "redis_key": "Its private key.",
    "redis_password_file": "A file with the password of Redis.",
}
"""As roles have them (`StoreSettings`), in the order of `StoreFiles`."""


def _file(name: str, text: str) -> inspect.Parameter:
    """An option of a file beside the store's URL."""
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        envvar=f"PENSTOCK_{name.upper()}",
        metavar="FILE",
        show_envvar=False,
        help=text,
    )
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=None, annotation=Annotated[Path | None, option])


def on_store(command: Callable[..., None]) -> Callable[..., None]:
    """*command*, which has a `redis`, with options of the files that its URL may need.

    It is given the URL that names them.
    """

    @functools.wraps(command)
    def run(**options: Any) -> None:
        files = StoreFiles(*(options.pop(name) for name in _FILES))
        if options["redis"] is not None:
            options["redis"] = with_files(options["redis"], files)
        elif any(files):
            raise InvalidConfiguration(NEED_URL)
        command(**options)

    signature = inspect.signature(command, eval_str=True)
    last = list(signature.parameters.values())
    at = [one.name for one in last].index("redis") + 1
    last[at:at] = [_file(*one) for one in _FILES.items()]
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
