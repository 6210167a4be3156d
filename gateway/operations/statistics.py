"""Statistics of model versions, as Triton's clients read them.

The numbers are counted in Redis by the scripts that make them true, so they are those of the
whole cluster, whichever gateway is asked.
"""

from collections.abc import Mapping

from penstock.protos import grpc_service_pb2 as pb


def model_statistics(model: str, version: int, counters: Mapping[str, int]) -> pb.ModelStatistics:
    """One version's statistics from its *counters* in Redis (docs/redis.md names them)."""

    def duration(name: str, count: str | None = None) -> pb.StatisticDuration:
        return pb.StatisticDuration(
            count=counters.get(count or f"{name}_count", 0), ns=counters.get(f"{name}_ns", 0)
        )

    hits = duration("cache_hit")

    def answered(name: str, hit_ns: int) -> pb.StatisticDuration:
        """As `duration`, with the requests that the cache answered: they queue for no time."""
        own = duration(name)
        return pb.StatisticDuration(count=own.count + hits.count, ns=own.ns + hit_ns)

    return pb.ModelStatistics(
        name=model,
        version=str(version),
        last_inference=counters.get("last_ms", 0),
        inference_count=counters.get("inference_count", 0),
        execution_count=counters.get("execution_count", 0),
        inference_stats=pb.InferStatistics(
            success=answered("success", hits.ns),
            fail=duration("fail"),
            queue=answered("queue", 0),
            compute_input=duration("compute_input", "compute_count"),
            compute_infer=duration("compute_infer", "compute_count"),
            compute_output=duration("compute_output", "compute_count"),
            cache_hit=hits,
            cache_miss=duration("cache_miss"),
        ),
        batch_stats=[_batch(size, counters) for size in _batch_sizes(counters)],
        response_stats={str(at): _response(at, counters) for at in _places(counters)},
    )


def _places(counters: Mapping[str, int]) -> set[int]:
    """Places of responses to one request, from 0, that a decoupled model has given or failed."""
    return {int(name.split(":")[1]) for name in counters if name.startswith("response:")}


def _response(at: int, counters: Mapping[str, int]) -> pb.InferResponseStatistics:
    def number(name: str) -> int:
        return counters.get(f"response:{at}:{name}", 0)

    def ended(how: str) -> pb.StatisticDuration:
        return pb.StatisticDuration(count=number(f"{how}_count"), ns=number(f"{how}_ns"))

    count = number("success_count")
    infer_ns, output_ns = number("compute_infer_ns"), number("compute_output_ns")
    return pb.InferResponseStatistics(
        compute_infer=pb.StatisticDuration(count=count, ns=infer_ns),
        compute_output=pb.StatisticDuration(count=count, ns=output_ns),
        success=pb.StatisticDuration(count=count, ns=infer_ns + output_ns),
        fail=ended("fail"),
        empty_response=ended("empty_response"),
        cancel=ended("cancel"),
    )


def _batch_sizes(counters: Mapping[str, int]) -> list[int]:
    return sorted(
        int(name.split(":")[1])
        for name in counters
        if name.startswith("batch:") and name.endswith(":count")
    )


def _batch(size: int, counters: Mapping[str, int]) -> pb.InferBatchStatistics:
    def duration(part: str) -> pb.StatisticDuration:
        return pb.StatisticDuration(
            count=counters[f"batch:{size}:count"], ns=counters.get(f"batch:{size}:{part}_ns", 0)
        )

    return pb.InferBatchStatistics(
        batch_size=size,
        compute_input=duration("input"),
        compute_infer=duration("infer"),
        compute_output=duration("output"),
    )
