"""``penstock up``: everything on this machine, until Ctrl-C."""

from penstock.cli.serve.options import on_settings
from penstock.errors import InvalidConfiguration
from penstock.settings import UpSettings


@on_settings(UpSettings)
def up(settings: UpSettings) -> None:
    """Run everything on this machine: store, scheduler, node with its workers, gateway.

    Ctrl-C stops all of it in order and loses nothing; a second Ctrl-C stops it at once.
    """
    import asyncio

    from penstock.cli.serve.screen import Screen
    from penstock.cli.serve.template import seed
    from penstock.gateway.access.exposure import refuse_exposed
    from penstock.process.lifetime import end_process
    from penstock.process.redaction import keep_password
    from penstock.telemetry import configure_logging

    keep_password(settings.redis)
    refuse_exposed(settings)
    for repository in settings.models:
        if not repository.is_dir():
            raise InvalidConfiguration(
                f"there is no model repository at {repository}: name one with --models DIR "
                "(from a checkout of Penstock, try --models examples/digits/models)"
            )
    configure_logging("up", level=settings.log_level)
    # Before there are threads, connections or a loop.
    asyncio.run(Screen(settings, seed()).run())
    end_process()
