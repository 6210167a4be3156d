"""Sizes that follow the request, besides the batch: a cut must hold for two values of each."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from penstock.errors import first_line
from penstock.sharding.comparison import Run, Runnable, Tensors, compare
from penstock.sharding.errors import CannotShard, FrozenSize, OneSizeOnly


@dataclass(frozen=True, slots=True)
class FreeSizes:
    """The free sizes of a model's inputs.

    Attributes:
        sample: by name of the size: what it is in the samples.
        places: by the same names: where it is, for people.
        request_at: sample inputs in which some of these sizes are others.
    """

    sample: Mapping[str, int]
    places: Mapping[str, str]
    request_at: Callable[[Mapping[str, int]], Tensors]


def others_of(size: int) -> Iterator[int]:
    """Other values to try for a size, those first that keep multiples of a stride what they are.

    One more than the size would not do: behind a stride of 8, 16 and 17 are the same.
    """
    yield from (2 * size, 3 * size, size + 32, size + 1, size - 1)


def prove(
    whole: Run, stages: Sequence[Runnable], datatypes: Mapping[str, str], free: FreeSizes
) -> dict[str, tuple[int, int]]:
    """Compare the stages with the whole model at a second value of each free size, and of all.

    Returns both values, by place.

    Raises:
        OneSizeOnly: the whole model runs at none of the other values.
        FrozenSize: the stages do not, or answer differently.
    """
    others: dict[str, int] = {}
    for name, size in free.sample.items():
        found = (other for other in others_of(size) if _runs(whole, free, {name: other}))
        other = next(found, None)
        if other is None:
            raise OneSizeOnly(free.places[name], size)
        others[name] = other
        _compare_at(whole, stages, datatypes, free, name, {name: other})
    if len(others) > 1 and _runs(whole, free, others):
        _compare_at(whole, stages, datatypes, free, next(iter(others)), others)
    return {free.places[name]: (free.sample[name], other) for name, other in others.items()}


def _runs(whole: Run, free: FreeSizes, values: Mapping[str, int]) -> bool:
    if any(value < 1 for value in values.values()):
        return False
    try:
        whole(free.request_at(values))
    except Exception:  # noqa: BLE001 - runtimes raise what they like
        return False
    return True


def _compare_at(
    whole: Run,
    stages: Sequence[Runnable],
    datatypes: Mapping[str, str],
    free: FreeSizes,
    name: str,
    values: Mapping[str, int],
) -> None:
    request = {0: free.request_at(values)}
    try:
        compare(whole, stages, request, datatypes, batched=False)
    except CannotShard as error:
        raise FrozenSize(free.places[name], values[name], str(error)) from None
    except Exception as error:  # noqa: BLE001 - runtimes raise what they like
        raise FrozenSize(free.places[name], values[name], first_line(error)) from None
