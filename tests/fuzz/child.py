"""One process of the fuzz: `python -m fuzz.child KIND INPUTS SEED RESULT`.

atheris watches which branches of Penstock an input takes, and keeps those that take new ones. The
first byte of an input chooses the target, so that all targets of a kind share one process.
"""

import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from random import Random

import atheris

LONGEST = 2048


def main() -> None:
    kind, inputs, seed, result = sys.argv[1:5]
    with atheris.instrument_imports(include=["penstock"]):
        module = importlib.import_module(f"fuzz.targets.{kind}")
    from fuzz.engine import Watch

    watches = [Watch(target) for target in module.TARGETS]
    left = int(inputs)

    def chosen(data):
        return watches[data[0] % len(watches)] if data else watches[0]

    def feed(data):
        nonlocal left
        chosen(data).feed(data[1:])
        left -= 1
        if left % 1000 == 0:
            tallies = {w.target.name: asdict(w.tally) for w in watches}
            for tally in tallies.values():
                tally["slowest"] = tally["slowest"].hex()
            Path(result).write_text(json.dumps(tallies))

    def mutate(data, most, mutation_seed):
        random = Random(mutation_seed)  # noqa: S311 - not for secrets
        if not data or random.randrange(10) == 0:
            place = random.randrange(len(watches))
            data = bytes([place]) + random.choice(watches[place].target.seeds)
        by_structure = chosen(data).target.mutate
        if by_structure is None or random.randrange(3) == 0:
            return data[:1] + atheris.Mutate(data[1:], most - 1)
        return (data[:1] + by_structure(data[1:], random))[:most]

    corpus = Path(result).with_suffix(".seeds")
    corpus.mkdir(exist_ok=True)
    for place, watch in enumerate(watches):
        for number, one in enumerate(watch.target.seeds):
            (corpus / f"{place}-{number}").write_bytes(bytes([place]) + one)
    options = [f"-atheris_runs={inputs}", f"-max_len={LONGEST}", f"-seed={seed}", "-timeout=60"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], feed, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
