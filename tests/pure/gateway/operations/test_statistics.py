"""Counters are read as the scripts pack them, and told as Triton's clients read them."""

import struct

import pytest

from penstock.gateway.operations.statistics import model_statistics
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.observe.counters import counters_of

TOTALS = struct.pack("<11d", 5, 500, 2, 200, 50, 10, 20, 30, 9, 4, 1_700_000_000_000)


def duration(count, ns):
    return pb.StatisticDuration(count=count, ns=ns)


class TestCounters:
    def test_totals_have_names(self):
        assert counters_of({b"totals": TOTALS}) == {
            "success_count": 5,
            "success_ns": 500,
            "fail_count": 2,
            "fail_ns": 200,
            "queue_ns": 50,
            "queue_count": 5,
            "compute_count": 5,
            "compute_input_ns": 10,
            "compute_infer_ns": 20,
            "compute_output_ns": 30,
            "inference_count": 9,
            "execution_count": 4,
            "last_ms": 1_700_000_000_000,
        }

    def test_rare_events_are_plain(self):
        found = counters_of({b"accepted": b"12", b"cancelled": b"3"})

        assert found == {"accepted": 12, "cancelled": 3, "queue_count": 0, "compute_count": 0}

    def test_a_total_adds_to_a_plain_counter_of_its_name(self):
        assert counters_of({b"fail_count": b"40", b"totals": TOTALS})["fail_count"] == 42

    def test_batch_sizes_have_counters_of_their_own(self):
        found = counters_of({b"batch:8": struct.pack("<4d", 3, 1, 2, 4)})

        assert found["batch:8:count"] == 3
        assert found["batch:8:input_ns"] == 1
        assert found["batch:8:infer_ns"] == 2
        assert found["batch:8:output_ns"] == 4

    def test_nothing_happened(self):
        assert counters_of({}) == {"queue_count": 0, "compute_count": 0}

    @pytest.mark.parametrize("field", [b"totals", b"batch:1"])
    def test_what_is_packed_otherwise_is_an_error(self, field):
        with pytest.raises(struct.error):
            counters_of({field: b"\0" * 8})


class TestTold:
    def test_what_the_cache_answered_is_a_success_that_was_not_computed(self):
        cache = {b"cache_hit_count": b"3", b"cache_hit_ns": b"60", b"cache_miss_count": b"5"}

        told = model_statistics("m", 3, counters_of({b"totals": TOTALS} | cache)).inference_stats

        assert told.success == duration(8, 560)
        assert told.queue == duration(8, 50)
        assert told.compute_infer == duration(5, 20)
        assert (told.cache_hit, told.cache_miss) == (duration(3, 60), duration(5, 0))

    def test_each_duration_has_its_count(self):
        told = model_statistics("m", 3, counters_of({b"totals": TOTALS}))

        assert (told.name, told.version) == ("m", "3")
        assert told.last_inference == 1_700_000_000_000
        assert (told.inference_count, told.execution_count) == (9, 4)
        assert told.inference_stats == pb.InferStatistics(
            success=duration(5, 500),
            fail=duration(2, 200),
            queue=duration(5, 50),
            compute_input=duration(5, 10),
            compute_infer=duration(5, 20),
            compute_output=duration(5, 30),
            cache_hit=duration(0, 0),
            cache_miss=duration(0, 0),
        )

    def test_batch_sizes_come_smallest_first(self):
        fields = {
            b"batch:16": struct.pack("<4d", 1, 7, 8, 9),
            b"batch:2": struct.pack("<4d", 3, 4, 5, 6),
        }

        told = model_statistics("m", 1, counters_of(fields))

        assert list(told.batch_stats) == [
            pb.InferBatchStatistics(
                batch_size=size,
                compute_input=duration(count, input_ns),
                compute_infer=duration(count, infer_ns),
                compute_output=duration(count, output_ns),
            )
            for size, count, input_ns, infer_ns, output_ns in ((2, 3, 4, 5, 6), (16, 1, 7, 8, 9))
        ]

    def test_a_version_that_nobody_asked_has_zeros(self):
        told = model_statistics("m", 1, {})

        assert told.inference_stats.success == duration(0, 0)
        assert list(told.batch_stats) == []
