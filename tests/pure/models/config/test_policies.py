"""Each level has its own policy, and the default where it has none."""

from support.clients.infer_requests import admit, ask, spec, zeros
from support.records import config

from penstock.models.config.policies import QueueLimits, QueuePolicy, by_level, default_policy
from penstock.protos.grpc_service_pb2 import InferParameter
from penstock.scheduler.requests.request_rules import Rules

LEVELS = """
    priority_levels: 3 default_priority_level: 2
    default_queue_policy { default_timeout_microseconds: 500 max_queue_size: 8 }
    priority_queue_policy { key: 1 value { max_queue_size: 2 timeout_action: DELAY } }
    priority_queue_policy {
      key: 3 value { default_timeout_microseconds: 900 allow_timeout_override: true }
    }
    """


def batching(text):
    return config(f"dynamic_batching {{ {text} }}").dynamic_batching


def test_without_levels_the_default_policy_is_for_all():
    plain = batching("default_queue_policy { max_queue_size: 4 timeout_action: DELAY }")

    assert by_level(plain) == {}
    assert default_policy(plain) == QueuePolicy(QueueLimits(jobs=4, puts_off=True), 0, False)
    assert default_policy(batching("")) == QueuePolicy(QueueLimits(), 0, False)


def test_levels_have_their_own_or_the_default_policy():
    assert by_level(batching(LEVELS)) == {
        1: QueuePolicy(QueueLimits(jobs=2, level=1, puts_off=True), 0, False),
        2: QueuePolicy(QueueLimits(jobs=8, level=2), 500, False),
        3: QueuePolicy(QueueLimits(level=3), 900, True),
    }


def test_the_policy_of_the_default_level_is_for_requests_that_ask_for_none():
    assert default_policy(batching(LEVELS)).limits == QueueLimits(jobs=8, level=2)


def test_a_requests_timeout_is_held_against_its_levels_policy():
    """Whichever parameter comes first."""
    rules = Rules.of(
        config(f"max_batch_size: 8 dynamic_batching {{ {LEVELS} }}"),
        [spec("x", "FP32", -1, 4)],
        [spec("y", "FP32", -1, 4)],
    )

    def timeout_us(**parameters):
        given = {key: InferParameter(int64_param=value) for key, value in parameters.items()}
        return admit(ask(("x", zeros(1, 4)), **given), rules)[1:3]

    assert timeout_us() == (2, 500)
    assert timeout_us(timeout=100) == (2, 500)
    assert timeout_us(priority=3) == (3, 900)
    assert timeout_us(timeout=100, priority=3) == (3, 100)
    assert timeout_us(priority=3, timeout=5000) == (3, 900)
    assert timeout_us(priority=1) == (1, 0)
    assert timeout_us(priority=1, timeout=70) == (1, 70)
