"""Metrics as Prometheus reads them: names, labels and values."""

from support.metrics import samples
from support.records import placement, worker

import penstock
from penstock.gateway.operations.metrics import Facts, GatewayFacts, render
from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.observe.custom_metrics import CustomFamily
from penstock.scheduler.observe.loads import Load
from penstock.scheduler.observe.usage import Usage
from penstock.scheduler.registry.snapshot import VersionId

GATEWAY = GatewayFacts("host/1", pending=3, pending_bytes=300, lent_bytes=200, redis_up=True)
M1 = VersionId("m", 1)
COUNTERS = {
    "accepted": 20,
    "success_count": 8,
    "fail_count": 2,
    "cancelled": 3,
    "expired": 4,
    "dead": 1,
    "requeued": 5,
    "inference_count": 16,
    "execution_count": 7,
    "success_ns": 9_000_500,
    "queue_ns": 1000,
    "compute_input_ns": 2000,
    "compute_infer_ns": 3000,
    "compute_output_ns": 4999,
}


def told_by(facts):
    return samples(render(facts).decode())


def value(facts, name, **labels):
    return told_by(facts)[name, tuple(sorted(labels.items()))]


def test_counters_have_tritons_names_and_units():
    facts = Facts(GATEWAY, {M1: COUNTERS})

    def told(name, **labels):
        return value(facts, f"nv_inference_{name}", model="m", version="1", **labels)

    assert told("request_success") == 8
    assert (told("count"), told("exec_count")) == (16, 7)
    assert told("request_duration_us") == 9000
    assert told("queue_duration_us") == 1
    assert told("compute_input_duration_us") == 2
    assert told("compute_infer_duration_us") == 3
    assert told("compute_output_duration_us") == 4
    assert told("request_failure", reason="REJECTED") == 4
    assert told("request_failure", reason="CANCELED") == 3
    assert told("request_failure", reason="BACKEND") == 3
    assert told("request_failure", reason="OTHER") == 0


def test_owners_tags_are_labels_of_tritons_families_only():
    loads = {StageRef("m", 1, 0): Load(4)}
    facts = Facts(GATEWAY, {M1: COUNTERS}, loads, tags={M1: {"team": 'a "b"'}})
    labels = {"model": "m", "version": "1", "_team": 'a "b"'}

    assert value(facts, "nv_inference_count", **labels) == 16
    assert value(facts, "nv_inference_request_failure", reason="BACKEND", **labels) == 3
    assert value(facts, "nv_inference_pending_request_count", **labels) == 4
    assert value(facts, "penstock_jobs_dead_total", model="m", version="1") == 1


def test_headers_say_what_tritons_samples_are():
    lines = render(Facts(GATEWAY, {M1: COUNTERS})).decode().splitlines()

    assert "# TYPE nv_inference_request_success counter" in lines
    assert 'nv_inference_request_success{model="m",version="1"} 8.0' in lines
    assert "# TYPE penstock_jobs_dead_total counter" in lines


def test_what_waits_is_summed_over_stages_and_shown_for_each():
    loads = {StageRef("m", 1, 0): Load(4, 1500, 3, 250), StageRef("m", 1, 1): Load(2)}
    facts = Facts(GATEWAY, {M1: {}}, loads)

    pending = value(facts, "nv_inference_pending_request_count", model="m", version="1")
    stage = {"model": "m", "version": "1", "stage": "0"}

    assert pending == 6
    assert value(facts, "penstock_queue_depth", **stage) == 4
    assert value(facts, "penstock_queue_oldest_age_seconds", **stage) == 1.5
    assert value(facts, "penstock_leases", **stage) == 3
    assert value(facts, "penstock_lease_oldest_age_seconds", **stage) == 0.25


def test_what_went_wrong_is_counted_by_name():
    counters = {"crashes": 4, "fenced": 3, "resubmitted": 2, "refused_full": 5, "refused_late": 6}
    facts = Facts(GATEWAY, {M1: counters})

    def told(name, **labels):
        return value(facts, name, model="m", version="1", **labels)

    assert told("penstock_jobs_crashes_total") == 4
    assert told("penstock_jobs_fenced_total") == 3
    assert told("penstock_jobs_resubmitted_total") == 2
    assert told("penstock_requests_refused_total", reason="full") == 5
    assert told("penstock_requests_refused_total", reason="late") == 6
    # For Triton's dashboards, all of these were rejected.
    assert told("nv_inference_request_failure", reason="REJECTED") == 11


def test_workers_are_counted_by_state():
    workers = [
        worker(placement(replica=0)),
        worker(placement(replica=1)),
        worker(placement(replica=2), pb.WORKER_STATE_FAILED),
    ]
    facts = Facts(GATEWAY, workers=workers)

    def counted(state):
        labels = {"model": "m", "version": "1", "stage": "0", "state": state}
        return value(facts, "penstock_workers", **labels)

    assert (counted("ready"), counted("failed"), counted("loading")) == (2, 1, 0)


def test_a_worker_whose_state_a_later_release_has_is_counted_all_the_same():
    facts = Facts(GATEWAY, workers=[worker(placement(), 99), worker(placement(replica=1))])
    labels = {"model": "m", "version": "1", "stage": "0"}

    assert value(facts, "penstock_workers", state="unknown", **labels) == 1
    assert value(facts, "penstock_workers", state="ready", **labels) == 1


def test_jobs_that_have_not_ended_are_live():
    facts = Facts(GATEWAY, {M1: COUNTERS}, ready={M1: True})

    assert value(facts, "penstock_jobs_live", model="m", version="1") == 2
    assert value(facts, "penstock_jobs_requeued_total", model="m", version="1") == 5
    assert value(facts, "penstock_version_ready", model="m", version="1") == 1


def test_a_gateway_speaks_of_itself_while_redis_is_away():
    own = GatewayFacts(
        *("host/1", 3, 300, 200),
        redis_up=False,
        memory_bytes=1000,
        calls=4,
        held_bytes=400,
        unread_bytes=50,
        refused={"memory": 5, "pending": 6, "unread": 7},
        cut_off=8,
        tells=False,
    )
    told = told_by(Facts(own))
    told = {key: number for key, number in told.items() if key[0] != "penstock_build_info"}

    labels = (("gateway", "host/1"),)
    assert told == {
        ("penstock_gateway_pending_requests", labels): 3,
        ("penstock_gateway_pending_bytes", labels): 300,
        ("penstock_gateway_lent_bytes", labels): 200,
        ("penstock_gateway_redis_up", labels): 0,
        ("penstock_gateway_tells_cluster", labels): 0,
        ("penstock_gateway_memory_bytes", labels): 1000,
        ("penstock_gateway_calls", labels): 4,
        ("penstock_gateway_held_bytes", labels): 400,
        ("penstock_gateway_unread_bytes", labels): 50,
        ("penstock_gateway_refused_total", (*labels, ("limit", "memory"))): 5,
        ("penstock_gateway_refused_total", (*labels, ("limit", "pending"))): 6,
        ("penstock_gateway_refused_total", (*labels, ("limit", "unread"))): 7,
        ("penstock_gateway_cut_off_total", labels): 8,
    }


def test_a_name_with_a_quote_does_not_break_the_format():
    facts = Facts(GATEWAY, {VersionId('a"b\\c', 1): COUNTERS})

    assert value(facts, "nv_inference_count", model='a"b\\c', version="1") == 16


def test_metrics_of_models_own_code_are_told_apart_by_worker():
    def calls(number):
        return [CustomFamily("calls", "so far", "counter", [("calls", {"kind": "a"}, number)])]

    spread = [
        ("spread_bucket", {"le": "1.0"}, 2.0),
        ("spread_bucket", {"le": "+Inf"}, 3.0),
        ("spread_sum", {}, 7.5),
        ("spread_count", {}, 3.0),
    ]
    histogram = CustomFamily("spread", "of them", "histogram", spread)
    custom = {"n/m/1/0.0": [*calls(2.0), histogram], "n/m/1/0.1": calls(3.0)}

    text = render(Facts(GATEWAY, custom=custom)).decode()

    assert "# TYPE calls counter" in text
    assert 'calls{kind="a",worker="n/m/1/0.0"} 2.0' in text
    assert 'calls{kind="a",worker="n/m/1/0.1"} 3.0' in text
    assert 'spread_bucket{le="+Inf",worker="n/m/1/0.0"} 3.0' in text


def test_each_team_has_its_usage():
    had = Usage(requests=3, failed=1, rows=6, size=100, queue_us=2_000_000, device_us=500_000)
    facts = Facts(GATEWAY, used={("vision", M1): had}, usage_left_out=7)
    labels = {"team": "vision", "model": "m", "version": "1"}

    told = {
        name: value(facts, f"penstock_team_{name}_total", **labels)
        for name in ("requests", "failed_requests", "rows", "bytes", "queue_seconds")
    }

    numbers = (3, 1, 6, 100, 2)
    assert tuple(told.values()) == numbers
    assert value(facts, "penstock_team_device_seconds_total", **labels) == 0.5
    assert value(facts, "penstock_team_usage_left_out") == 7


def test_how_long_requests_took_is_a_histogram():
    counters = COUNTERS | {"request_us:1000": 5, "request_us:25000": 2, "request_us:inf": 1}
    facts = Facts(GATEWAY, {M1: counters | {"queue_us:1000": 8}, VersionId("idle", 1): {}})
    labels = {"model": "m", "version": "1"}

    def within(le):
        return value(facts, "penstock_request_seconds_bucket", le=le, **labels)

    assert (within("0.001"), within("0.01"), within("0.025"), within("60.0")) == (5, 5, 7, 7)
    assert within("+Inf") == value(facts, "penstock_request_seconds_count", **labels) == 8
    assert value(facts, "penstock_request_seconds_sum", **labels) == 0.0090005
    assert value(facts, "penstock_queue_seconds_bucket", le="0.001", **labels) == 8
    assert "idle" not in {
        dict(labels).get("model") for name, labels in told_by(facts) if "_seconds_bucket" in name
    }


def test_buckets_of_another_release_are_counted_where_they_belong():
    facts = Facts(GATEWAY, {M1: COUNTERS | {"request_us:1000": 5, "request_us:3000": 2}})

    def within(le):
        labels = {"model": "m", "version": "1", "le": le}
        return value(facts, "penstock_request_seconds_bucket", **labels)

    assert [within(le) for le in ("0.0025", "0.003", "0.005", "+Inf")] == [5, 7, 7, 7]


def test_a_gateway_says_what_it_runs_and_whether_it_tells_of_the_cluster():
    told = told_by(Facts(GATEWAY))

    assert told["penstock_gateway_tells_cluster", (("gateway", "host/1"),)] == 1
    ((labels, one),) = [(dict(at), n) for (name, at), n in told.items() if "build" in name]
    assert (labels["gateway"], labels["version"], one) == ("host/1", penstock.__version__, 1)
