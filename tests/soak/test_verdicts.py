"""What a soak calls flat: caches fill at first, and what leaks does not stop."""

import pytest
from soak.run import columns, table, verdict_of

HOURS_2 = 120
FILLS = [100 + 40 * min(1, look / 100) for look in range(400)]


def test_what_fills_up_at_first_is_flat():
    assert verdict_of(FILLS, HOURS_2) == "flat"


@pytest.mark.parametrize("mib_an_hour", [15, 60])
def test_what_grows_all_along_is_not(mib_an_hour):
    assert verdict_of([100 + mib_an_hour * look / 200 for look in range(400)], HOURS_2) == "grows"


def test_a_peak_now_and_then_is_no_growth():
    peaks = [value + 300 * (look % 10 == 9) for look, value in enumerate(FILLS)]

    assert verdict_of(peaks, HOURS_2) == "flat"


def test_of_a_few_minutes_nothing_is_said():
    assert verdict_of(FILLS[::-1], 2) == "too short to tell"


def test_a_process_that_is_not_always_there_has_a_column():
    looks = [
        {"minutes": n, "answered": n, "up": 5.0, **({"node": 7.0} if n else {})} for n in (0, 1)
    ]

    assert columns([looks[1], looks[0]]) == {"up": [5.0, 5.0], "node": [7.0]}
    assert table([looks[1], looks[0]], {"up": "flat", "node": "flat"}).row_count == 13
