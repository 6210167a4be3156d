"""How long something has given no sign of life."""

from penstock.workers.liveness.silence import Silence


def test_a_sign_of_life_ends_the_silence():
    silence = Silence(most_step_s=2.0)
    first, second = object(), object()

    assert [silence.seconds(first, at) for at in (10.0, 11.0, 12.5)] == [0.0, 1.0, 2.5]
    assert silence.seconds(second, 13.0) == 0.0
    assert silence.seconds(second, 14.0) == 1.0


def test_time_in_which_nobody_listened_does_not_count():
    """A process that was stopped for an hour has heard nothing of others that were, too."""
    silence = Silence(most_step_s=2.0)
    sign = object()
    silence.seconds(sign, 0.0)

    assert silence.seconds(sign, 3600.0) == 2.0
