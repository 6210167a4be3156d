"""Custom metrics: numbers of models' own code, from their workers to whoever shows them.

A worker writes its numbers down every two seconds, and they last for ten; a worker that is gone is
not heard of any more, as any process that Prometheus reads.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.observe.work_done import texts_of

WRITE_EVERY_S: Final = 2.0
_LIFE_MS: Final = 10_000
_LONGEST: Final = 1 << 20
"""Bytes of what one worker writes."""


class CustomFamily(NamedTuple):
    """Metrics of one name.

    Attributes:
        kind: "counter", "gauge" or "histogram".
        samples: name, labels and number of each line.
    """

    name: str
    text: str
    kind: str
    samples: Sequence[tuple[str, Mapping[str, str], float]]


async def write_custom_metrics(
    queue: Queue, model: str, boot_id: str, families: Iterable[CustomFamily]
) -> None:
    """Write down what a worker of *model* has; nothing where it would be more than 1 MiB."""
    text = json.dumps([list(family) for family in families]).encode()
    if len(text) > _LONGEST:
        return
    key = queue.keys_of(model).custom_metrics + boot_id
    await queue.link_of(model).command("SET", key, text, "PX", _LIFE_MS)


async def custom_metrics_of(
    queue: Queue, workers: Iterable[pb.Worker]
) -> dict[str, list[CustomFamily]]:
    """What is known of each of *workers*, by the worker's id; those without any are left out."""
    texts = await texts_of(queue, workers, lambda keys: keys.custom_metrics)
    return {worker: _families(text) for worker, text in texts.items()}


def _families(text: bytes) -> list[CustomFamily]:
    return [CustomFamily(*family) for family in json.loads(text)]
