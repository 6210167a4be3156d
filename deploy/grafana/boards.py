"""Grafana's boards, as code: `python tools/deploy_check --write` makes the JSON that the chart ships.

Each row of `BOARDS` is a panel: title, unit, and its queries with their legends. Of each cluster all gateways
are scraped, and one of them tells the cluster's metrics, so everything is summed (docs/metrics.md).
"""

from typing import Final

from dashboards import Board, Panel, written

_MODEL: Final = 'job=~"$job",model=~"$model"'
_JOB: Final = 'job=~"$job"'
_BY_MODEL: Final = "{{model}} {{version}}"
_BY_STAGE: Final = "{{model}} {{version}}/{{stage}}"


def _rate(metric: str, labels: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{{{labels}}}[$__rate_interval]))"


def _quantile(metric: str, at: float) -> str:
    inner = _rate(f"{metric}_bucket", _MODEL, "model, version, le")
    return f"histogram_quantile({at}, {inner})"


def _percentiles(metric: str) -> tuple[tuple[str, str], ...]:
    return tuple((_quantile(metric, at), f"p{at * 100:g} {_BY_MODEL}") for at in (0.5, 0.95, 0.99))


def _gateway(metric: str) -> tuple[tuple[str, str], ...]:
    return ((f"penstock_gateway_{metric}{{{_JOB}}}", "{{gateway}}"),)


_REQUESTS: Final = Panel(
    "Requests",
    "reqps",
    ((_rate("nv_inference_request_success", _MODEL, "model, version"), _BY_MODEL),),
    "Requests that were answered, per second.",
)
_TOOK: Final = Panel(
    "How long requests take",
    "s",
    _percentiles("penstock_request_seconds"),
    "From a request's acceptance to its reply, over the whole cluster.",
)
_NOT_ANSWERED: Final = Panel(
    "Requests that were not answered",
    "reqps",
    (
        (
            _rate("nv_inference_request_failure", _MODEL, "model, version, reason"),
            f"{_BY_MODEL} {{{{reason}}}}",
        ),
    ),
    "REJECTED: late or refused at the door. CANCELED: their clients gave up. BACKEND: the model failed.",
)
_DEPTH: Final = Panel(
    "Requests that wait",
    "short",
    (
        (
            f"sum by (model, version, stage) (penstock_queue_depth{{{_MODEL}}})",
            _BY_STAGE,
        ),
    ),
    "Jobs in queues. Those that workers beside a gateway take at once are in none.",
)
_BUSY: Final = Panel(
    "How busy workers are",
    "percentunit",
    (
        (
            f"{_rate('penstock_worker_busy_seconds_total', _MODEL, 'model, version, stage')} / "
            f'sum by (model, version, stage) (penstock_workers{{{_MODEL},state="ready"}})',
            _BY_STAGE,
        ),
    ),
    "Of the time of all ready workers. Near 1 they are too few: give the model more instances.",
)

_CLUSTER: Final = Board(
    "penstock-cluster",
    "Penstock: the cluster",
    (
        Panel(
            "Processes",
            "short",
            (
                (
                    f"sum by (role, state, software) (penstock_processes{{{_JOB}}})",
                    "{{role}} {{state}} {{software}}",
                ),
            ),
            "Gateways, schedulers and nodes that live. Two releases are here while an update runs.",
        ),
        Panel(
            "Models that cannot answer",
            "short",
            ((f"min by (model, version) (penstock_version_ready{{{_MODEL}}}) == 0", _BY_MODEL),),
            "Nothing here is good: each line is a version of which a stage has no worker.",
        ),
        _REQUESTS,
        _TOOK,
        _NOT_ANSWERED,
        _DEPTH,
        Panel(
            "Connection to the store",
            "short",
            ((f"penstock_gateway_redis_up{{{_JOB}}}", "{{gateway}}"),),
            "1: the gateway has one. While it has none it keeps what it has, and waits.",
        ),
        Panel(
            "What went wrong with jobs",
            "ops",
            tuple(
                (
                    _rate(f"penstock_jobs_{name}_total", _MODEL, "model, version"),
                    f"{name} {_BY_MODEL}",
                )
                for name in ("crashes", "requeued", "dead", "fenced", "resubmitted")
            ),
            "crashes: lost their worker; requeued for that; dead: set aside; fenced: results that came too late; "
            "resubmitted: the store had forgotten them.",
        ),
    ),
)
_MODELS: Final = Board(
    "penstock-models",
    "Penstock: models",
    (
        _REQUESTS,
        _TOOK,
        Panel(
            "How long requests wait",
            "s",
            _percentiles("penstock_queue_seconds"),
            "In queues, all stages together.",
        ),
        Panel(
            "Rows of a batch",
            "short",
            (
                (
                    f"{_rate('nv_inference_count', _MODEL, 'model, version')} / "
                    f"{_rate('nv_inference_exec_count', _MODEL, 'model, version')}",
                    _BY_MODEL,
                ),
            ),
            "Mean. Larger batches use a device better, as long as the time that they take is there.",
        ),
        Panel(
            "Where the time goes",
            "s",
            tuple(
                (
                    f"{_rate(f'nv_inference_{part}_duration_us', _MODEL, 'model, version')} / 1e6 / "
                    f"{_rate('nv_inference_request_success', _MODEL, 'model, version')}",
                    f"{part} {_BY_MODEL}",
                )
                for part in ("queue", "compute_input", "compute_infer", "compute_output")
            ),
            "Mean seconds of a request in each part of its way.",
        ),
        _NOT_ANSWERED,
        Panel(
            "Requests refused at the door",
            "reqps",
            (
                (
                    _rate("penstock_requests_refused_total", _MODEL, "model, version, reason"),
                    f"{_BY_MODEL} {{{{reason}}}}",
                ),
            ),
            "full: the queue has its most. late: they could not have been answered in their time.",
        ),
        Panel(
            "The oldest that waits",
            "s",
            (
                (
                    f"max by (model, version, stage) (penstock_queue_oldest_age_seconds{{{_MODEL}}})",
                    _BY_STAGE,
                ),
            ),
            "How long the oldest waiting job has waited.",
        ),
    ),
)
_WORKERS: Final = Board(
    "penstock-workers",
    "Penstock: workers and devices",
    (
        _BUSY,
        Panel(
            "Workers",
            "short",
            (
                (
                    f"sum by (model, version, stage, state) (penstock_workers{{{_MODEL}}}) > 0",
                    f"{_BY_STAGE} {{{{state}}}}",
                ),
                (
                    f"sum by (model, version, stage) (penstock_workers_wanted{{{_MODEL}}})",
                    f"{_BY_STAGE} wanted",
                ),
            ),
            "By state, and how many there shall be.",
        ),
        Panel(
            "Memory of devices",
            "bytes",
            (
                (
                    f"sum by (node, device) (penstock_device_held_bytes{{{_JOB}}})",
                    "{{node}} {{device}} held",
                ),
                (
                    f"sum by (node, device) (penstock_device_memory_bytes{{{_JOB}}})",
                    "{{node}} {{device}} has",
                ),
            ),
            "What models hold of each device, and what it has for them.",
        ),
        Panel(
            "How busy devices are",
            "percentunit",
            (
                (
                    _rate("penstock_worker_busy_seconds_total", _JOB, "node, device"),
                    "{{node}} {{device}}",
                ),
            ),
            "Batches that run on it at a time; above 1 workers share it.",
        ),
        Panel(
            "Rows computed",
            "ops",
            ((_rate("penstock_worker_rows_total", _MODEL, "node, model"), "{{node}} {{model}}"),),
            "By node.",
        ),
        Panel(
            "Workers that began again",
            "short",
            (
                (
                    f"sum by (model, version, stage, node) (increase(penstock_worker_restarts_total{{{_MODEL}}}[10m]))",
                    f"{_BY_STAGE} {{{{node}}}}",
                ),
            ),
            "In ten minutes. More than a few: `penstock status` says why they ended.",
        ),
        Panel(
            "How long workers have their oldest job",
            "s",
            (
                (
                    f"max by (model, version, stage) (penstock_lease_oldest_age_seconds{{{_MODEL}}})",
                    _BY_STAGE,
                ),
            ),
            "Since it was claimed. Beyond a batch's time it is stuck.",
        ),
    ),
)
_GATEWAYS: Final = Board(
    "penstock-gateways",
    "Penstock: gateways",
    (
        Panel("Calls that are open", "short", _gateway("calls"), "Of each gateway."),
        Panel(
            "Requests that wait for replies",
            "short",
            _gateway("pending_requests"),
            "Of each gateway.",
        ),
        Panel(
            "Memory",
            "bytes",
            _gateway("memory_bytes"),
            "Of the process; its limit is --max-memory-mib.",
        ),
        Panel(
            "Requests held", "bytes", _gateway("held_bytes"), "Their limit is --max-pending-mib."
        ),
        Panel(
            "Replies that nobody has read",
            "bytes",
            _gateway("unread_bytes"),
            "Limit: --max-unread-mib.",
        ),
        Panel(
            "Payloads lent to workers",
            "bytes",
            _gateway("lent_bytes"),
            "Limit: --lent-payload-mib.",
        ),
        Panel(
            "Turned away",
            "reqps",
            (
                (
                    _rate("penstock_gateway_refused_total", _JOB, "gateway, limit"),
                    "{{gateway}} {{limit}}",
                ),
            ),
            "By the limit that was reached; access: without a key that lets them in.",
        ),
        Panel(
            "Who tells the cluster's metrics",
            "short",
            _gateway("tells_cluster"),
            "One gateway at a time has 1.",
        ),
    ),
    ("job",),
)

__all__ = ["BOARDS", "written"]

BOARDS: Final = (_CLUSTER, _MODELS, _WORKERS, _GATEWAYS)
