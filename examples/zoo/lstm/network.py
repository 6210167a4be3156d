"""An LSTM that names the speaker: PyTorch's own to train, and unrolled to show its gates."""

import torch
from torch import Tensor, nn

FEATURES, FRAMES, SPEAKERS, HIDDEN = 12, 29, 9, 32


class Speaker(nn.Module):
    """The trained network: `nn.LSTM`, the mean of what it shows, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(FEATURES), requires_grad=False)
        self.deviation = nn.Parameter(torch.ones(FEATURES), requires_grad=False)
        self.lstm = nn.LSTM(FEATURES, HIDDEN, batch_first=True)
        self.dropout = nn.Dropout(0.3)
        self.speakers = nn.Linear(HIDDEN, SPEAKERS)

    def forward(self, frames: Tensor, length: Tensor) -> Tensor:
        """*frames* [batch, 29, 12], *length* [batch, 1] -> logits [batch, 9]."""
        shown, _ = self.lstm(self.normal(frames))
        return self.named(shown, length)

    def normal(self, frames: Tensor) -> Tensor:
        """Frames whose features have mean 0 and deviation 1 in what was learned from."""
        return (frames - self.mean) / self.deviation

    def named(self, shown: Tensor, length: Tensor) -> Tensor:
        """Logits of the mean over the frames that are there."""
        there = (torch.arange(FRAMES) < length).to(shown.dtype)[:, :, None]
        logits: Tensor = self.speakers(self.dropout((shown * there).sum(1) / there.sum(1)))
        return logits


class Unrolled(nn.Module):
    """The same function with the gates of every step among its outputs."""

    def __init__(self, speaker: Speaker) -> None:
        super().__init__()
        self.speaker = speaker
        self.new = nn.Linear(FEATURES, 4 * HIDDEN)
        self.old = nn.Linear(HIDDEN, 4 * HIDDEN)
        with torch.no_grad():
            self.new.weight.copy_(speaker.lstm.weight_ih_l0)
            self.new.bias.copy_(speaker.lstm.bias_ih_l0)
            self.old.weight.copy_(speaker.lstm.weight_hh_l0)
            self.old.bias.copy_(speaker.lstm.bias_hh_l0)

    def forward(self, frames: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities [batch, 9], gates [batch, 29, 3, 32]: i, f, o; cells [batch, 29, 32]."""
        frames = self.speaker.normal(frames)
        shown = cell = torch.zeros_like(frames[:, 0, :1]).expand(-1, HIDDEN)
        steps = []
        for place in range(FRAMES):
            sums = (self.new(frames[:, place]) + self.old(shown)).split(HIDDEN, dim=1)
            i, f, o = (sums[gate].sigmoid() for gate in (0, 1, 3))
            cell = f * cell + i * sums[2].tanh()
            shown = o * cell.tanh()
            steps.append((shown, torch.stack([i, f, o], dim=1), cell))
        all_shown, gates, cells = (torch.stack(part, dim=1) for part in zip(*steps, strict=True))
        return self.speaker.named(all_shown, length).softmax(dim=1), gates, cells
