"""What tests start is what they wait for."""

import pytest
from support.processes.cluster import Cluster


def test_a_ready_file_of_an_earlier_cluster_is_not_this_ones(tmp_path):
    (tmp_path / "ready").write_text("127.0.0.1:1")
    one = Cluster(tmp_path, tmp_path, "--there-is-no-such-option")

    with pytest.raises(AssertionError, match="ended before it was ready"):
        one.start()
