"""Live settings: what LogSettings and TraceSetting change holds for every gateway process.

A change goes into the registry, and is acted on by whoever reads it there: this gateway before it
answers, the others some hundredths of a second later, those that start afterwards from the start.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import structlog

from penstock.errors import PenstockError, StoreUnavailable
from penstock.gateway.operations.log_settings import (
    check_kept_log,
    log_changes,
    logging_with,
    shown_logging,
)
from penstock.gateway.operations.tracing import Tracing, check_kept
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.registry.cluster_settings import (
    ClusterSettings,
    Setting,
    Value,
    moment,
    setting,
)
from penstock.scheduler.registry.snapshot import Snapshot
from penstock.telemetry import current_logging, use_logging

log = structlog.get_logger()

_LOG, _TRACE = "log", "trace"
_PATIENCE_S: Final = 5.0


class LiveSettings:
    """The settings of one gateway process, as the registry has them."""

    def __init__(self, kept: ClusterSettings, tracing: Tracing) -> None:
        self._kept = kept
        self._tracing = tracing
        self._at_start = current_logging()
        self._texts: Mapping[str, str] = {}
        self._ignored: set[str] = set()
        self._seen = (0, 0)
        self._turned = asyncio.Event()

    def update(self, snapshot: Snapshot) -> None:
        """Act on what the registry says now."""
        if snapshot.settings != self._texts:
            self._texts = snapshot.settings
            self._act(self._known(snapshot.settings))
        self._seen = moment(snapshot.change_id)
        self._turned.set()
        self._turned = asyncio.Event()

    async def change_log(self, request: pb.LogSettingsRequest) -> pb.LogSettingsResponse:
        """Change what *request* names, all or nothing; the answer holds every setting.

        Raises:
            InvalidRequest: there is no such setting, or its value cannot be.
            Unimplemented: it cannot be changed over the network.
            StoreUnavailable: Redis cannot be reached.
        """
        changes = log_changes(request)
        await self._change({f"{_LOG}/{name}": (value,) for name, value in changes.items()})
        return shown_logging(current_logging())

    async def change_trace(self, request: pb.TraceSettingRequest) -> pb.TraceSettingResponse:
        """As `change_log`; without values a setting is as for all models, or as at the start."""
        changes = self._tracing.changes(request)
        place = f"{_TRACE}/{request.model_name}/"
        await self._change({place + name: values for name, values in changes.items()})
        return self._tracing.shown(request.model_name)

    async def _change(self, changes: Mapping[str, Sequence[Value]]) -> None:
        if not changes:
            return
        when = await self._kept.change(changes)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while self._seen < when:
                    await self._turned.wait()
        except TimeoutError:
            raise StoreUnavailable(
                "the settings were written, but this gateway cannot read them back; ask again"
            ) from None

    def _known(self, texts: Mapping[str, str]) -> dict[str, Setting]:
        """Those settings that this release can read; others are ignored, and said once each."""
        found: dict[str, Setting] = {}
        ignored: set[str] = set()
        for name, text in texts.items():
            try:
                found[name] = _read(name, text)
            except (PenstockError, ValueError, LookupError, TypeError, AttributeError) as error:
                ignored.add(f"{name} {text}")
                if f"{name} {text}" not in self._ignored:
                    log.warning(
                        "a setting that this release cannot read is ignored",
                        setting=name,
                        error=str(error),
                    )
        self._ignored = ignored
        return found

    def _act(self, settings: Mapping[str, Setting]) -> None:
        logged: dict[str, Value] = {}
        traces: dict[str, dict[str, Setting]] = defaultdict(dict)
        for name, kept in settings.items():
            kind, _, rest = name.partition("/")
            if kind == _LOG:
                logged[rest] = kept.values[0]
            elif kind == _TRACE:
                model, _, what = rest.rpartition("/")
                traces[model][what] = kept
        use_logging(replace(self._at_start, **logging_with(logged)))
        self._tracing.use(traces)


def _read(name: str, text: str) -> Setting:
    """The setting that *text* is, as a later release or a stranger may have written it.

    Raises:
        Exception: this release cannot read it.
    """
    kind, _, rest = name.partition("/")
    kept = setting(text)
    if kind == _LOG:
        check_kept_log(rest, kept.values)
    elif kind == _TRACE:
        check_kept(rest.rpartition("/")[2], kept.values)
    else:
        raise LookupError(f"there is no kind of settings '{kind}'")
    return kept
