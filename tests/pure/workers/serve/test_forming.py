"""A group as it forms: it goes by the weakest of its stages."""

import pytest

from penstock.language.rebuild import Rebuild
from penstock.protos import cluster_pb2 as pb
from penstock.workers.serve.language.dialer import Dialer
from penstock.workers.serve.language.forming import Forming


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (("prefill", "prefill"), Rebuild.PREFILL),
        (("prefill", "replay"), Rebuild.REPLAY),
        (("none", "prefill"), Rebuild.NONE),
        (("prefill", ""), Rebuild.NONE),
    ],
    ids=["both", "replay", "none", "a release that does not say"],
)
async def test_a_lost_cache_comes_back_as_in_the_weakest_stage(seen, expected):
    own, later = (
        pb.Worker(boot_id=f"b{number}", stage=number, rebuild=rebuild)
        for number, rebuild in enumerate(seen)
    )
    forming = Forming(None, own, 2, 1.0, Dialer(""))

    assert forming._group_of([own, later]).rebuild is expected
