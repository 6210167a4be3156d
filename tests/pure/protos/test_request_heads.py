"""What heads told is kept, but not without end."""

from penstock.protos.request_heads import LONGEST_HEAD, MOST_HEADS, RequestHeads


def test_a_few_heads_too_many_leave_most_of_the_others_known():
    """They come in turn: if the oldest went, none would be known when it comes again."""
    heads = RequestHeads()
    known = 0
    for number in [*range(MOST_HEADS + 8)] * 10:
        head = b"%d" % number
        known += head in heads
        heads.remember(head, number)

    assert len(heads) == MOST_HEADS
    assert known > 8 * MOST_HEADS


def test_a_head_that_comes_again_takes_nobodys_place():
    heads = RequestHeads()
    for number in range(MOST_HEADS):
        heads.remember(b"%d" % number, number)

    heads.remember(b"7", "new")

    assert len(heads) == MOST_HEADS
    assert heads[b"7"] == "new"
    assert heads[b"0"] == 0


def test_a_head_with_contents_of_its_own_is_not_kept():
    heads = RequestHeads()
    heads.remember(bytes(LONGEST_HEAD + 1), 1)

    assert not heads
