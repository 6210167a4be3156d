"""PyTorch modules as people write them, with what they are exported with."""

import torch
from torch import nn


class BrainWaves(nn.Module):
    """Its batch is in the middle, as recurrent layers have it."""

    def __init__(self):
        super().__init__()
        self.recurrent, self.out = nn.LSTM(8, 16), nn.Linear(16, 3)

    def forward(self, waves):
        return self.out(self.recurrent(waves)[0]).softmax(-1)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = nn.GRU(6, 12, num_layers=2, batch_first=True)

    def forward(self, steps, hidden):
        out, last = self.recurrent(steps, hidden)
        return {"out": out, "hidden": last}


class Translator(nn.Module):
    """An encoder and a decoder: two lengths."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(50, 16)
        self.both = nn.Transformer(16, 2, 1, 1, 32, dropout=0.0, batch_first=True)
        self.out = nn.Linear(16, 50)

    def forward(self, source, target):
        return self.out(self.both(self.words(source), self.words(target)))


class Segments(nn.Module):
    """A U-Net: down, up, and across."""

    def __init__(self):
        super().__init__()
        self.first, self.down = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.up, self.last = nn.ConvTranspose2d(16, 8, 2, stride=2), nn.Conv2d(16, 2, 1)

    def forward(self, image):
        fine = self.first(image).relu()
        coarse = self.down(nn.functional.max_pool2d(fine, 2)).relu()
        return self.last(torch.cat([fine, self.up(coarse)], 1))


class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(5, 4)

    def forward(self, batch):
        scores = self.out(batch["numbers"]) + batch["offsets"]
        return {"scores": scores, "best": scores.argmax(-1)}


class Samples(nn.Module):
    """One dimension, which is no batch."""

    def forward(self, samples):
        return (samples - samples.mean()).cumsum(0)


def torch_models():
    """name -> module, sample arguments, and the sizes that stay free."""
    torch.manual_seed(0)
    batch, time = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("time", min=2)
    source, target = torch.export.Dim("source", min=2), torch.export.Dim("target", min=2)
    ids = torch.ones(2, 5, dtype=torch.long)
    return {
        "waves": (BrainWaves(), (torch.rand(7, 2, 8),), {"waves": {1: batch}}),
        "gru": (
            Recurrent(),
            (torch.rand(3, 7, 6), torch.rand(2, 3, 12)),
            {"steps": {0: batch}, "hidden": {1: batch}},
        ),
        "translator": (
            Translator(),
            (ids, torch.ones(2, 4, dtype=torch.long)),
            {"source": {0: batch, 1: source}, "target": {0: batch, 1: target}},
        ),
        "unet": (Segments(), (torch.rand(2, 3, 16, 16),), {"image": {0: batch}}),
        "tower": (
            Tower(),
            ({"numbers": torch.rand(3, 5), "offsets": torch.rand(3, 4)},),
            {"batch": {"numbers": {0: batch}, "offsets": {0: batch}}},
        ),
        "samples": (Samples(), (torch.rand(9),), {"samples": {0: time}}),
    }
