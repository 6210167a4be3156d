"""What is told of a cluster while it changes."""

from support.processes.front import serving
from support.records import snapshot

from penstock.protos import cluster_pb2
from penstock.protos.cluster_pb2_grpc import ClusterStub


async def test_a_version_that_is_unloaded_meanwhile_is_told_as_it_was(redis_url):
    async with serving(redis_url) as front:
        router = front.gateway.delivery.router
        counted = router.statistics

        async def while_unloading(wanted):
            found = await counted(wanted)
            front.gateway.catalog.update(snapshot())
            return found

        router.statistics = while_unloading
        answer = await ClusterStub(front.channel).Status(cluster_pb2.StatusRequest(), timeout=20)

    assert [(one.model, one.state) for one in answer.versions] == [("digits", "READY")]
