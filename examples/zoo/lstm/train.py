"""Train on 270 utterances, each heard with other noise every time."""

import torch
from torch import nn

from zoo.common.place import Place
from zoo.lstm.data import read
from zoo.lstm.network import FEATURES, FRAMES, Speaker

EPOCHS = 150
NOISE = 1.0
"""In every frame; in standard deviations of each feature, and so is the next."""
SHIFT = 0.3
"""In all frames of an utterance alike."""


def train(place: Place) -> None:
    """Write the weights."""
    torch.manual_seed(5)
    utterances = read("TRAIN")
    frames, lengths, speakers = (
        torch.from_numpy(part)
        for part in (utterances.frames, utterances.lengths, utterances.speakers)
    )
    epochs = 2 if place.quick else EPOCHS
    network = Speaker()
    there = torch.cat([series[:length] for series, length in zip(frames, lengths, strict=True)])
    network.mean.copy_(there.mean(0))
    network.deviation.copy_(there.std(0))
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=2e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(frames)).split(32):
            noise = NOISE * torch.randn(len(batch), FRAMES, FEATURES)
            noise += SHIFT * torch.randn(len(batch), 1, FEATURES)
            heard = frames[batch] + network.deviation * noise
            optimizer.zero_grad()
            logits = network(heard, lengths[batch])
            nn.functional.cross_entropy(logits, speakers[batch], label_smoothing=0.05).backward()
            optimizer.step()
        schedule.step()
    place.save({name: array.numpy() for name, array in network.state_dict().items()})
