"""Learn ratings from eight thousand snippets; words are dropped at random, as one may."""

import torch
from torch import nn

from zoo.attention.data import read
from zoo.attention.network import Rating
from zoo.attention.words import numbers, write_vocabulary
from zoo.common.place import Place

EPOCHS = 12
DROPPED = 0.15
UNKNOWN = 1


def train(place: Place) -> None:
    """Write the vocabulary and the weights."""
    torch.manual_seed(2)
    seen, _ = read()
    network = Rating(write_vocabulary(place, seen.texts))
    ids = torch.from_numpy(numbers(place, seen.texts))
    ratings = torch.from_numpy(seen.ratings)[:, None]
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.1)
    epochs = 1 if place.quick else EPOCHS
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(ids)).split(64):
            rows = ids[batch]
            dropped = (torch.rand(rows.shape) < DROPPED) & (rows != 0)
            optimizer.zero_grad()
            opinion, _ = network(rows.masked_fill(dropped, UNKNOWN))
            nn.functional.mse_loss(opinion, ratings[batch]).backward()
            optimizer.step()
        schedule.step()
    place.save({name: array.numpy() for name, array in network.state_dict().items()})
