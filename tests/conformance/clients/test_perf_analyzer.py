"""perf_analyzer, Triton's load generator, runs against Penstock unmodified."""

import csv

import pytest
from support.models.ensembles import write_diamond


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("mode", ["--sync", "--async", "--streaming"])
def test_it_measures_throughput(perf_analyzer, digits_cluster, tmp_path, version, mode):
    report = tmp_path / "report.csv"

    perf_analyzer(
        *("-m", "digits", "-x", version, "-i", "grpc", "-u", digits_cluster.url, mode),
        *("--concurrency-range", "4", "-f", str(report)),
    )

    with report.open() as file:
        (row,) = list(csv.DictReader(file))
    assert float(row["Inferences/Second"]) > 0
    assert float(row["Server Compute Infer"]) > 0


@pytest.mark.parametrize("mode", ["--sync", "--async"])
def test_it_measures_throughput_over_http(perf_analyzer, digits_cluster, tmp_path, mode):
    report = tmp_path / "report.csv"

    perf_analyzer(
        *("-m", "digits", "-x", "1", "-i", "http", "-u", digits_cluster.http_url(), mode),
        *("--concurrency-range", "4", "-f", str(report)),
    )

    with report.open() as file:
        (row,) = list(csv.DictReader(file))
    assert float(row["Inferences/Second"]) > 0
    assert float(row["Server Compute Infer"]) > 0


def test_it_sends_batches(perf_analyzer, digits_cluster, tmp_path):
    """Here it measures as long as so many requests take: it looks once a second."""
    report = tmp_path / "report.csv"

    perf_analyzer(
        *("-m", "digits", "-x", "1", "-i", "grpc", "-u", digits_cluster.url, "-b", "8"),
        *("--measurement-mode", "count_windows", "--measurement-request-count", "10"),
        *("--concurrency-range", "2", "-f", str(report)),
    )

    with report.open() as file:
        (row,) = list(csv.DictReader(file))
    assert float(row["Inferences/Second"]) > 0


def test_it_collects_metrics(perf_analyzer, digits_cluster):
    told = perf_analyzer(
        *("-m", "digits", "-x", "1", "-i", "grpc", "-u", digits_cluster.url, "--collect-metrics"),
        *("--metrics-url", digits_cluster.metrics_url().removeprefix("http://")),
        *("--concurrency-range", "2", "--metrics-interval", "100"),
    )

    assert "Throughput" in told


def measured(perf_analyzer, cluster, tmp_path, *options):
    """The rows of its report: one for each load that it tried."""
    report = tmp_path / "report.csv"
    perf_analyzer("-i", "grpc", "-u", cluster.url, "-f", str(report), *options)
    with report.open() as file:
        return list(csv.DictReader(file))


def test_it_tries_a_range_of_concurrencies(perf_analyzer, models_cluster, tmp_path):
    rows = measured(
        perf_analyzer, models_cluster, tmp_path, "-m", "add_sub", "--concurrency-range", "1:5:2"
    )

    # It lists them by what they reached.
    assert sorted(row["Concurrency"] for row in rows) == ["1", "3", "5"]
    assert all(float(row["Inferences/Second"]) > 0 for row in rows)


@pytest.mark.parametrize(
    ("mode", "distribution"),
    [("--sync", "constant"), ("--async", "poisson"), ("--streaming", "constant")],
)
def test_it_tries_a_range_of_request_rates(
    perf_analyzer, models_cluster, tmp_path, mode, distribution
):
    rows = measured(
        *(perf_analyzer, models_cluster, tmp_path, "-m", "add_sub", mode),
        *("--request-rate-range", "20:60:40", "--request-distribution", distribution),
    )

    assert [row["Request Rate"] for row in rows] == ["20", "60"]
    assert all(float(row["Inferences/Second"]) > 0 for row in rows)


def test_it_sends_at_intervals_of_its_users(perf_analyzer, models_cluster, tmp_path):
    intervals = tmp_path / "intervals"
    intervals.write_text("10000\n20000\n30000\n")  # microseconds

    rows = measured(
        *(perf_analyzer, models_cluster, tmp_path, "-m", "add_sub"),
        *("--request-intervals", str(intervals)),
    )

    assert float(rows[0]["Inferences/Second"]) > 0


TEXTS = {
    "random": ("--string-length", "12"),
    "the same": ("--string-data", "ab"),
    "zero": ("--input-data", "zero"),
}


@pytest.mark.parametrize(
    ("mode", "batch", "content"),
    [
        ("--sync", "1", "random"),
        ("--sync", "8", "zero"),
        ("--async", "8", "the same"),
        ("--streaming", "1", "random"),
        ("--streaming", "8", "zero"),
    ],
)
def test_it_sends_text_of_a_shape_that_it_is_told(
    perf_analyzer, models_cluster, tmp_path, mode, batch, content
):
    rows = measured(
        *(perf_analyzer, models_cluster, tmp_path, "-m", "identity_text", mode, "-b", batch),
        *("--shape", "input:3", "--concurrency-range", "2", *TEXTS[content]),
    )

    assert float(rows[0]["Inferences/Second"]) > 0


def test_it_sends_what_is_in_a_file(perf_analyzer, models_cluster, tmp_path):
    data = tmp_path / "data.json"
    data.write_text('{"data": [{"input": {"content": ["a", "bc"], "shape": [2]}}]}')

    rows = measured(
        *(perf_analyzer, models_cluster, tmp_path, "-m", "identity_text"),
        *("--input-data", str(data), "--shape", "input:2", "--concurrency-range", "2"),
    )

    assert float(rows[0]["Inferences/Second"]) > 0


def test_it_is_told_where_a_shape_is_missing(perf_analyzer, models_cluster, tmp_path):
    with pytest.raises(AssertionError, match="shape"):
        measured(perf_analyzer, models_cluster, tmp_path, "-m", "identity_text")


def test_it_measures_an_ensemble_and_its_steps(perf_analyzer, cluster, tmp_path):
    write_diamond(tmp_path / "models")
    running = cluster(tmp_path / "models")

    told = perf_analyzer(
        *("-m", "diamond", "-i", "grpc", "-u", running.url, "-b", "4", "--async"),
        *("--concurrency-range", "4"),
    )

    assert "Throughput" in told
    for model in ("triple", "five", "double", "join"):
        assert f"{model}, version: 1" in told
