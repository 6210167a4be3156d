"""A Transformer of two encoder and two decoder layers, written out; its attention is an output."""

import torch
from torch import Tensor, nn

LENGTH = 16
"""Letters of a word, and phonemes with the one that starts or ends them, at most."""
LETTERS, PHONEMES = 28, 42
PAD, START, END = 0, 1, 2
WIDTH, HEADS, INNER, LAYERS = 64, 2, 192, 2
HIDDEN = -1e9


class Attention(nn.Module):
    """What to look for, what there is, and what it says; in two ways at once."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.joined = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor, seen: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """*x* [b, n, w] looks at *seen* [b, m, w]; where *hidden* [b, 1, n or 1, m] is not 0, not.

        Returns what it saw, and the weights [b, n, m], the mean of all heads.
        """
        query, key, value = self.query(x), self.key(seen), self.value(seen)
        query, key, value = (
            part.unflatten(2, (HEADS, WIDTH // HEADS)).transpose(1, 2)
            for part in (query, key, value)
        )
        weights = (query @ key.transpose(2, 3) / (WIDTH // HEADS) ** 0.5 + hidden).softmax(dim=3)
        found = (weights @ value).transpose(1, 2).flatten(2)
        return self.joined(found), weights.mean(dim=1)


class Layer(nn.Module):
    """Self-attention, cross-attention in a decoder, and two linear layers; each adds to x."""

    def __init__(self, *, crosses: bool) -> None:
        super().__init__()
        self.itself = Attention()
        self.across = Attention() if crosses else None
        self.inner, self.outer = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3))

    def forward(
        self, x: Tensor, hidden: Tensor, memory: Tensor | None = None, padding: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """X after the layer, and how it looked across."""
        normal = self.norms[0](x)
        x = x + self.itself(normal, normal, hidden)[0]
        looked = None
        if self.across is not None and memory is not None and padding is not None:
            found, looked = self.across(self.norms[1](x), memory, padding)
            x = x + found
        return x + self.outer(torch.relu(self.inner(self.norms[2](x)))), looked


class Transformer(nn.Module):
    """Letters, and the phonemes so far -> how likely each phoneme comes next, at every place."""

    def __init__(self) -> None:
        super().__init__()
        self.letters, self.phonemes = (nn.Embedding(n, WIDTH) for n in (LETTERS, PHONEMES))
        self.letter_places, self.phoneme_places = (nn.Embedding(LENGTH, WIDTH) for _ in range(2))
        self.encoder = nn.ModuleList(Layer(crosses=False) for _ in range(LAYERS))
        self.decoder = nn.ModuleList(Layer(crosses=True) for _ in range(LAYERS))
        self.read, self.said = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.next = nn.Linear(WIDTH, PHONEMES)

    def forward(self, letters: Tensor, prefix: Tensor) -> tuple[Tensor, Tensor]:
        """*letters* [b, n], *prefix* [b, m] from START on -> log-probabilities [b, m, 42].

        And the cross-attention of the last layer [b, m, n].
        """
        padding = (letters == PAD)[:, None, None, :].to(torch.float32) * HIDDEN
        x = self.letters(letters) + self.letter_places.weight[: letters.shape[1]]
        for layer in self.encoder:
            x, _ = layer(x, padding)
        memory = self.read(x)
        ahead = torch.triu(torch.full((prefix.shape[1],) * 2, HIDDEN), diagonal=1)
        y = self.phonemes(prefix) + self.phoneme_places.weight[: prefix.shape[1]]
        looked = x
        for layer in self.decoder:
            y, looked = layer(y, ahead, memory, padding)
        return self.next(self.said(y)).log_softmax(dim=2), looked
