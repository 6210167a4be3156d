"""Learn to pronounce: all words once or twice, those of like length together."""

import numpy as np
import torch
from torch import nn

from zoo.common.place import Place
from zoo.transformer.data import read, said, spelled
from zoo.transformer.network import PAD, PHONEMES, Transformer

STEPS = 1200
BATCH = 128
RATE = 4e-3


def train(place: Place) -> None:
    """Write the weights."""
    torch.manual_seed(1)
    seen, _ = read()
    letters = torch.from_numpy(spelled(seen.spelled))
    given, wanted = map(torch.from_numpy, said([one[0] for one in seen.said]))
    lengths = (letters != PAD).sum(1).numpy()
    steps = 10 if place.quick else STEPS
    network = Transformer()
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for batch in _batches(lengths, steps):
        rows, now, then = letters[batch], given[batch], wanted[batch]
        width, height = (int((part != PAD).sum(1).max()) for part in (rows, now))
        optimizer.zero_grad()
        logs, _ = network(rows[:, :width], now[:, :height])
        loss = nn.functional.nll_loss(
            logs.reshape(-1, PHONEMES), then[:, :height].reshape(-1), ignore_index=PAD
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    place.save({name: array.numpy() for name, array in network.state_dict().items()})


def _batches(lengths: np.ndarray, steps: int) -> list[np.ndarray]:
    """So many batches of words of like length, in a random order."""
    chance, found = np.random.default_rng(2), []
    while len(found) < steps:
        order = chance.permutation(len(lengths))
        order = order[np.argsort(lengths[order], kind="stable")]
        batches = np.array_split(order, -(-len(order) // BATCH))
        found += [batches[place] for place in chance.permutation(len(batches))]
    return found[:steps]
