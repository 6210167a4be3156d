"""Where to cut a decoder: between layers, balanced by what a token costs to compute. Pure."""

from collections.abc import Sequence

from penstock.exporting.errors import CannotExport


def cut(layer_work: Sequence[int], head_work: int, stages: int) -> tuple[int, ...]:
    """The first layer of each stage, so that the costliest stage costs as little as can be.

    The head is in the last stage; each stage has a layer at least. Of equally good cuts those
    that leave less to the last stages, which have the head's memory as well.

    Raises:
        CannotExport: there are fewer layers than stages.
    """
    layers = len(layer_work)
    if not 1 <= stages <= layers:
        raise CannotExport(
            f"cannot cut {layers} layers into {stages} stages: ask for --stages 1 to {layers}"
        )
    # best[end]: the costliest of the stages so far that hold the first `end` layers, and the cuts.
    sums = [0]
    for work in layer_work:
        sums.append(sums[-1] + work)
    best: dict[int, tuple[int, tuple[int, ...]]] = {0: (0, ())}
    for stage in range(stages):
        last = stage == stages - 1
        ends = [layers] if last else range(stage + 1, layers - (stages - stage - 1) + 1)
        best = {
            end: min(
                (
                    (
                        max(cost, sums[end] - sums[begin] + (head_work if last else 0)),
                        (*cuts, begin),
                    )
                    for begin, (cost, cuts) in best.items()
                    if begin < end
                ),
                key=_costliest_then_latest,
            )
            for end in ends
        }
    return best[layers][1]


def _costliest_then_latest(found: tuple[int, tuple[int, ...]]) -> tuple[int, tuple[int, ...]]:
    cost, cuts = found
    return cost, tuple(-at for at in cuts)
