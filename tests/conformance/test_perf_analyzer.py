"""perf_analyzer, Triton's load generator, runs against Penstock unmodified."""

import csv

import pytest


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("mode", ["--sync", "--async", "--streaming"])
def test_it_measures_throughput(perf_analyzer, digits_cluster, tmp_path, version, mode):
    report = tmp_path / "report.csv"

    perf_analyzer(
        *("-m", "digits", "-x", version, "-i", "grpc", "-u", digits_cluster.url, mode),
        *("--concurrency-range", "4", "--measurement-interval", "500"),
        # Two windows of half a second that differ by any amount: a check, not a measurement.
        *("--stability-percentage", "999", "--max-trials", "4", "-f", str(report)),
    )

    with report.open() as file:
        (row,) = list(csv.DictReader(file))
    assert float(row["Inferences/Second"]) > 0
    assert float(row["Server Compute Infer"]) > 0


def test_it_sends_batches(perf_analyzer, digits_cluster, tmp_path):
    report = tmp_path / "report.csv"

    perf_analyzer(
        *("-m", "digits", "-x", "1", "-i", "grpc", "-u", digits_cluster.url, "-b", "8"),
        *("--concurrency-range", "2", "--measurement-interval", "500"),
        *("--stability-percentage", "999", "--max-trials", "4", "-f", str(report)),
    )

    with report.open() as file:
        (row,) = list(csv.DictReader(file))
    assert float(row["Inferences/Second"]) > 0


def test_it_collects_metrics(perf_analyzer, digits_cluster):
    told = perf_analyzer(
        *("-m", "digits", "-x", "1", "-i", "grpc", "-u", digits_cluster.url, "--collect-metrics"),
        *("--metrics-url", digits_cluster.metrics_url().removeprefix("http://")),
        *("--concurrency-range", "2", "--measurement-interval", "500"),
        *("--stability-percentage", "999", "--max-trials", "4", "--metrics-interval", "100"),
    )

    assert "Throughput" in told
