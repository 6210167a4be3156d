"""What a cut means, for a model of any framework.

Some operations do not depend on the values of a request: they work on weights, constants and
sizes alone. They never make a stage and their results never travel; every stage that needs one
computes it again from its own weights and from the sizes of the tensors that it has. That keeps
a stage's inputs to tensors with the batch in front, which is what a worker can concatenate and
split. All other operations are *steps*; cuts lie between them.

The model's outputs are all written by the last stage, since the last stage's outputs are those of
the pipeline. One that is made earlier travels there under another name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from penstock.sharding.cuts import Step


@dataclass(frozen=True, slots=True)
class Operation:
    """One node: the tensors and weights it reads, the tensors it writes.

    ``sizes_only`` marks one that looks at the sizes of what it reads and at no value.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    sizes_only: bool = False


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor between operations.

    Attributes:
        datatype: its wire datatype.
        dims: its sizes: a number where fixed, a symbol's name where they follow the request.
        item_bytes: its bytes for one item of the batch.
        may_cross: a worker can hand it to the next stage.
    """

    datatype: str
    dims: tuple[int | str, ...]
    item_bytes: int
    may_cross: bool

    @property
    def symbols(self) -> frozenset[str]:
        """The sizes that can be read from this tensor."""
        return frozenset(dim for dim in self.dims if isinstance(dim, str))

    @property
    def wire_shape(self) -> list[int]:
        """As in a model's metadata: -1 where the size follows the request."""
        return [-1 if isinstance(dim, str) else dim for dim in self.dims]


@dataclass(frozen=True, slots=True)
class Weight:
    """What a parameter, buffer or constant costs."""

    elements: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class Graph:
    """A model: operations in an order in which they can run.

    A tensor that *tensors* lacks is of unknown type or size, and cannot cross a cut.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]
    weights: Mapping[str, Weight]
    tensors: Mapping[str, Tensor]


@dataclass(slots=True)
class Needs:
    """What a step, or a stage, needs: also through the operations that it computes again."""

    values: set[str] = field(default_factory=set)
    sizes: set[str] = field(default_factory=set)
    weights: set[str] = field(default_factory=set)
    again: set[int] = field(default_factory=set)

    def add(self, other: "Needs") -> None:
        """Need all that *other* needs, too."""
        self.values |= other.values
        self.sizes |= other.sizes
        self.weights |= other.weights
        self.again |= other.again


@dataclass(frozen=True, slots=True)
class Stage:
    """One run of steps, with all that an artifact for it needs.

    Attributes:
        operations: indexes into the graph's operations, in order.
        inputs: tensors from the request or from earlier stages -> their names on the wire.
        outputs: tensors that later stages or the caller need -> their names on the wire.
        weights: the weights that it holds.
        sizes_from: symbol -> the input, and the dimension of it, that tells this size.
        last_step: the last operation's index.
    """

    operations: tuple[int, ...]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    weights: frozenset[str]
    sizes_from: Mapping[str, tuple[str, int]]
    last_step: int


class Sequenced:
    """A graph laid out as a sequence of steps, ready to be cut.

    Positions are those of `choose_cuts`: p lies right after the first p steps.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._rank: dict[str, int] = {}
        self._made_at: dict[str, int] = dict.fromkeys(graph.inputs, 0)
        self._step_operations: list[int] = []
        self._needs: list[Needs] = []
        self._lay_out()
        self._on_the_way = {name: self._free_name(name) for name in graph.outputs}
        self._crossing = self._by_position("values")
        self._sized = self._by_position("sizes")

    def steps(self) -> list[Step]:
        """The sequence as `choose_cuts` wants it."""
        last = len(self._needs) - 1
        return [
            Step(frozenset(needs.weights), None if at == last else self._crossing_bytes(at + 1))
            for at, needs in enumerate(self._needs)
        ]

    def crossing(self, position: int) -> list[str]:
        """The tensors that travel over a cut there, in the order in which they are made."""
        return sorted(self._crossing[position], key=self._rank.__getitem__)

    def stages(self, cuts: Sequence[int]) -> list[Stage]:
        """The stages between *cuts*, which lie where the steps allow them."""
        return [self._stage(*pair) for pair in pairwise([0, *cuts, len(self._needs)])]

    def _lay_out(self) -> None:
        free: dict[str, Needs] = {name: Needs(weights={name}) for name in self.graph.weights}
        for name in self.graph.inputs:
            self._rank[name] = len(self._rank)
        for index, operation in _used(self.graph):
            for name in operation.writes:
                self._rank[name] = len(self._rank)
            needs = _needs_of(operation.reads, free)
            if operation.sizes_only or not needs.values:
                needs.sizes |= needs.values
                needs.values = set()
                needs.again.add(index)
                free.update(dict.fromkeys(operation.writes, needs))
                continue
            self._step_operations.append(index)
            self._needs.append(needs)
            self._made_at.update(dict.fromkeys(operation.writes, len(self._needs)))
        self._output_needs = _needs_of(self.graph.outputs, free)

    def _by_position(self, kind: str) -> list[list[str]]:
        """By position: the tensors made before it, whose values (or sizes) are needed after it."""
        until: dict[str, int] = {}
        for position, needs in enumerate([*self._needs, self._output_needs], start=1):
            until.update(dict.fromkeys(getattr(needs, kind), position))
        live: list[list[str]] = [[] for _ in range(len(self._needs) + 1)]
        for name, end in until.items():
            for names in live[self._made_at[name] : end]:
                names.append(name)
        return live

    def _crossing_bytes(self, position: int) -> int | None:
        crossing = self.crossing(position)
        tensors = [self.graph.tensors.get(name) for name in crossing]
        known = [tensor for tensor in tensors if tensor is not None and tensor.may_cross]
        if len(known) < len(tensors):
            return None
        known_symbols = frozenset[str]().union(*(tensor.symbols for tensor in known))
        if not all(self._is_known(name, crossing, known_symbols) for name in self._sized[position]):
            return None
        return sum(tensor.item_bytes for tensor in known)

    def _is_known(self, name: str, crossing: Sequence[str], known_symbols: frozenset[str]) -> bool:
        tensor = self.graph.tensors.get(name)
        return name in crossing or (tensor is not None and tensor.symbols <= known_symbols)

    def _stage(self, begin: int, end: int) -> Stage:
        steps = range(begin, end)
        is_last = end == len(self._needs)
        needs = Needs()
        for step in [*(self._needs[at] for at in steps), *([self._output_needs] * is_last)]:
            needs.add(step)
        earlier = {name for name, made_at in self._made_at.items() if made_at <= begin}
        inputs = sorted(needs.values & earlier, key=self._rank.__getitem__)
        missing = needs.sizes & earlier - set(inputs)
        sizes_from = self._sizes(missing, inputs, self.crossing(begin))
        inputs += sorted({name for name, _ in sizes_from.values()} - set(inputs))
        own = (self._step_operations[at] for at in steps)
        return Stage(
            operations=tuple(sorted(needs.again.union(own))),
            inputs={name: self._on_the_way.get(name, name) for name in inputs},
            outputs=self._outputs(begin, end, is_last=is_last),
            weights=frozenset(needs.weights),
            sizes_from=sizes_from,
            last_step=self._step_operations[end - 1],
        )

    def _outputs(self, begin: int, end: int, *, is_last: bool) -> dict[str, str]:
        if is_last:
            return {name: name for name in self.graph.outputs}
        made = (name for name in self.crossing(end) if self._made_at[name] > begin)
        return {name: self._on_the_way.get(name, name) for name in made}

    def _free_name(self, output: str) -> str:
        """What an output of the model is called before the last stage hands it out."""
        name = f"{output}_early"
        while name in self._rank or name in self.graph.tensors or name in self.graph.weights:
            name += "_"
        return name

    def _sizes(
        self, missing: Iterable[str], inputs: Sequence[str], crossing: Sequence[str]
    ) -> dict[str, tuple[str, int]]:
        """Who tells each size of the *missing* tensors: an input if one can, else what crosses."""
        sources: dict[str, tuple[str, int]] = {}
        for name in [*inputs, *crossing]:
            for axis, dim in enumerate(self.graph.tensors[name].dims):
                if isinstance(dim, str):
                    sources.setdefault(dim, (name, axis))
        wanted = {symbol for name in missing for symbol in self.graph.tensors[name].symbols}
        return {symbol: sources[symbol] for symbol in sorted(wanted)}


def _used(graph: Graph) -> list[tuple[int, Operation]]:
    """The operations that an output depends on, with their indexes."""
    wanted = set(graph.outputs)
    used = []
    for index, operation in reversed(list(enumerate(graph.operations))):
        if wanted.intersection(operation.writes):
            wanted.update(operation.reads)
            used.append((index, operation))
    return used[::-1]


def _needs_of(names: Iterable[str], free: Mapping[str, Needs]) -> Needs:
    needs = Needs()
    for name in names:
        needs.add(free.get(name) or Needs(values={name}))
    return needs
