"""The status as tables: complete, plain, and within 80 columns."""

import io

import pytest
from rich.console import Console
from support.processes.commands import WIDTH, too_wide

from penstock.cli.tables import (
    age_text,
    all_tables,
    counts_table,
    letter_table,
    letters_table,
    models_table,
    plain_table,
    processes_table,
    rebuilds_table,
    size_text,
    stages_table,
    state_text,
    titled,
    tokens_table,
    workers_table,
)
from penstock.protos import cluster_pb2 as pb

GIB = 1 << 30


def shown(*renderables):
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None, highlight=False)
    for renderable in renderables:
        console.print(renderable)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def worker(state=pb.WORKER_STATE_READY, **fields):
    return pb.Worker(pid=4711, device="cuda:0", state=state, **fields)


def status(reason="", artifact="digits/1/shard-0.onnx", workers=None):
    stage = pb.StageStatus(
        index=0,
        artifact=artifact,
        artifact_bytes=5 * GIB,
        replicas_wanted=2,
        waiting=12,
        oldest_waiting_ms=1500,
        leases=8,
        oldest_lease_ms=20,
        workers=workers or [worker(), worker(pb.WORKER_STATE_LOADING, restarts=3)],
    )
    idle = pb.StageStatus(index=1, artifact="digits/1/shard-1.pt2", replicas_wanted=1)
    version = pb.VersionStatus(
        model="digits", version=1, state="LOADING", reason=reason, stages=[stage, idle]
    )
    return pb.StatusResponse(versions=[version])


def test_models_count_their_ready_workers():
    lines = shown(models_table(status(reason="stage 1 has no worker")))

    assert lines[0].split() == ["model", "version", "state", "stages", "workers"]
    assert lines[2].split() == ["digits", "1", "LOADING", "2", "1/3"]
    assert lines[3] == "digits 1: stage 1 has no worker"


def test_a_reason_has_the_whole_width_below_its_table():
    """It is a sentence or two, and what to do stands at its end."""
    reason = "model.onnx takes any number of dimensions of its input 'x': list it in config.pbtxt"

    lines = shown(models_table(status(reason=reason)))

    assert len(lines) == 5
    assert "".join(f"{line} " for line in lines[3:]).strip() == f"digits 1: {reason}"


def test_a_model_without_a_version_has_a_dash():
    broken = pb.StatusResponse(versions=[pb.VersionStatus(model="m", state="UNAVAILABLE")])

    assert shown(models_table(broken))[2].split() == ["m", "-", "UNAVAILABLE", "0", "0/0"]


def test_stages_show_what_waits():
    lines = shown(stages_table(status()))

    assert lines[2].split() == [
        *("digits", "1.0", "shard-0.onnx", "5.0", "GiB", "1/2"),
        *("12", "(1.5", "s)", "8", "(20", "ms)"),
    ]
    assert lines[3].split() == ["digits", "1.1", "shard-1.pt2", "0", "B", "0/1", "0", "0"]


def test_tokens_of_language_models_are_shown_with_those_that_were_cached():
    quiet, asked = status(), status()
    counts = pb.VersionCounts(prompt_tokens=500, generated_tokens=70, cached_tokens=320)
    asked.versions[0].counts.CopyFrom(counts)

    lines = shown(*titled("Tokens", tokens_table(asked.versions)))

    assert titled("Tokens", tokens_table(quiet.versions)) == ()
    assert lines[1].split() == ["version", "prompt", "tokens", "cached", "generated"]
    assert lines[3].split() == ["digits", "1", "500", "320", "70"]


def test_how_lost_caches_come_back_is_shown_for_each_kind_of_worker():
    quiet, language = status(), status()
    stage = language.versions[0].stages[0]
    del stage.workers[:]
    stage.workers.extend(
        pb.Worker(rebuild=rebuild, numeric_domain=where)
        for rebuild, where in [("prefill", "one"), ("prefill", "one"), ("none", "two")]
    )

    lines = shown(*titled("Lost caches", rebuilds_table(language.versions)))

    assert titled("Lost caches", rebuilds_table(quiet.versions)) == ()
    assert [line.split() for line in lines[3:5]] == [
        ["digits", "1", "none", "1", "two"],
        ["digits", "1", "prefill", "2", "one"],
    ]


def test_only_versions_with_problems_are_shown_with_what_went_wrong():
    """A quiet cluster has no such table at all."""
    quiet, troubled = status(), status()
    troubled.versions[0].counts.CopyFrom(
        pb.VersionCounts(accepted=100, succeeded=90, crashes=3, refused_late=7)
    )

    lines = shown(*titled("Problems", counts_table(troubled)))

    assert titled("Problems", counts_table(quiet)) == ()
    assert lines[0] == "Problems"
    assert lines[1].split() == ["version", "too", "late", "worker", "crashes"]
    assert lines[3].split() == ["digits", "1", "7", "3"]


LETTER = pb.DeadLetter(
    job="gateway-4711-0a1b2c3d-1f",
    model="digits",
    version=1,
    stage=1,
    worker="0a1b2c3d4e5f6071",
    crashes=2,
    time_ms=1_700_000_000_000,
    payload_bytes=2048,
)


def test_a_letter_takes_one_line():
    lost = pb.DeadLetter()
    lost.CopyFrom(LETTER)
    lost.ClearField("payload_bytes")
    lines = shown(letters_table([LETTER, lost], now_ms=1_700_000_000_000 + 3 * 3_600_000))

    job = "gateway-4711-0a1b2c3d-1f"
    assert too_wide("\n".join(lines)) == []
    assert lines[2].split() == [job, "digits", "1.1", "3", "h", "2", "2.0", "KiB"]
    assert lines[3].split()[-2:] == ["not", "kept"]


def test_a_letter_that_is_shown_says_what_the_request_carried():
    shape = [1, 28]
    LETTER.inputs.add(name="image", datatype="FP32", shape=shape)

    lines = [line.split(maxsplit=2) for line in shown(letter_table(LETTER))]

    assert ["dead", "since", "2023-11-14 22:13:20 UTC"] in lines
    assert ["input", "image", "FP32 [1, 28]"] in lines


def test_workers_show_why_they_are_not_ready():
    failed = worker(pb.WORKER_STATE_FAILED, reason="model.onnx is missing")

    lines = shown(workers_table(status(workers=[worker(), failed])))

    assert [line.split(maxsplit=6) for line in lines[2:4]] == [
        ["digits", "1.0", "4711", "cuda:0", "READY", "0"],
        ["digits", "1.0", "4711", "cuda:0", "FAILED", "0"],
    ]
    assert lines[4:] == ["digits 1.0: model.onnx is missing"]


def test_a_worker_whose_state_a_later_release_has_is_shown_all_the_same():
    lines = shown(workers_table(status(workers=[worker(99)])))

    assert any("UNKNOWN" in line and "4711" in line for line in lines)


def test_processes_show_devices_and_draining():
    answer = pb.StatusResponse(
        nodes=[
            pb.Node(
                id="node-a",
                pid=1,
                devices=[pb.Device(kind="cpu", memory_bytes=8 * GIB)],
                draining=True,
            )
        ],
        gateways=[pb.Gateway(id="gateway-b", pid=2, address="127.0.0.1:8001")],
        schedulers=[pb.Scheduler(id="scheduler-c", pid=3)],
    )

    lines = shown(processes_table(answer))

    assert [line.split(maxsplit=3) for line in lines[2:]] == [
        ["node", "node-a", "1", "cpu:0 8.0 GiB (draining)"],
        ["gateway", "gateway-b", "2", "127.0.0.1:8001"],
        ["scheduler", "scheduler-c", "3"],
    ]


def test_long_reasons_are_folded_and_nothing_is_cut_off():
    reason = "digits/1/" + "x" * 150 + " expects [batch, 10], but " + "word " * 30

    lines = shown(*all_tables(status(reason=reason)))

    assert too_wide("\n".join(lines)) == []
    assert "".join("".join(lines).split()).count("x" * 40) >= 1
    assert sum(line.count("x") for line in lines if "xxxx" in line) == 150


@pytest.mark.parametrize("text", ["[batch, 10]", "[red]", "[/]", "a[b]c"])
def test_brackets_are_no_markup(text):
    """Shapes stand in brackets in many reasons."""
    assert text in "\n".join(shown(models_table(status(reason=text))))


def test_everything_has_its_title_and_what_is_empty_has_none():
    lines = shown(*all_tables(status()))

    assert [line for line in lines if line in ("Processes", "Models", "Stages", "Workers")] == [
        "Models",
        "Stages",
        "Workers",
    ]
    assert titled("Models", plain_table("model")) == ()


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (5 * GIB, "5.0 GiB"),
        (3 * 1024**5, "3072.0 TiB"),
    ],
)
def test_sizes_are_for_people(size, text):
    assert size_text(size) == text


@pytest.mark.parametrize(("age_ms", "text"), [(0, "0 ms"), (999, "999 ms"), (1000, "1.0 s")])
def test_ages_are_for_people(age_ms, text):
    assert age_text(age_ms) == text


@pytest.mark.parametrize(
    ("state", "colour"), [("READY", "green"), ("UNAVAILABLE", "red"), ("STOPPING", "yellow")]
)
def test_states_have_colours(state, colour):
    assert (state_text(state).plain, state_text(state).style) == (state, colour)
