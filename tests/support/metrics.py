"""Metrics in Prometheus's text format, read back."""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families


def samples(text):
    """Every sample: (name, labels) -> value."""
    return {
        (_as_written(sample.name), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(url):
    """What a scraper gets from *url*."""
    with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - our own server's
        return samples(answer.read().decode())


def _as_written(name):
    # The parser adds the suffix that OpenMetrics wants; Triton's names have none.
    return name.removesuffix("_total") if name.startswith("nv_") else name
