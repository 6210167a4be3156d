"""The two networks of the benchmarks that are exported from torch; random weights."""

from typing import ClassVar

import torch
from torch import Tensor, nn


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward part, each normalized before and added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.before_feed = nn.LayerNorm(width)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, tokens, width] -> the same shape."""
        _, tokens, width = hidden.shape
        projected = self.queries_keys_values(self.before_attention(hidden))
        split = projected.reshape(-1, tokens, 3, self.heads, width // self.heads)
        queries, keys, values = split.permute(2, 0, 3, 1, 4).unbind(0)
        scores = queries @ keys.transpose(-2, -1) * (width // self.heads) ** -0.5
        mixed = scores.softmax(-1) @ values
        hidden = hidden + self.attended(mixed.transpose(1, 2).reshape(-1, tokens, width))
        return hidden + self.feed(self.before_feed(hidden))


class Encoder(nn.Module):
    """Tokens to one vector for the sentence: the mean over its tokens."""

    # Small, so that stages which are even in bytes are even in computing too.
    VOCABULARY: ClassVar[int] = 1024
    TOKENS: ClassVar[int] = 64

    def __init__(self, layers: int = 6, width: int = 384, heads: int = 12) -> None:
        super().__init__()
        self.words = nn.Embedding(self.VOCABULARY, width)
        self.places = nn.Parameter(torch.randn(self.TOKENS, width) * 0.02)
        self.layers = nn.Sequential(*(EncoderLayer(width, heads) for _ in range(layers)))
        self.normalized = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[batch, 64] INT64 -> [batch, width]."""
        hidden = self.layers(self.words(tokens) + self.places)
        pooled: Tensor = self.normalized(hidden).mean(1)
        return pooled


class Residual(nn.Module):
    """Two 3x3 convolutions beside a short cut."""

    def __init__(self, reads: int, writes: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(reads, writes, 3, stride, 1, bias=False),
            nn.BatchNorm2d(writes),
            nn.ReLU(),
            nn.Conv2d(writes, writes, 3, 1, 1, bias=False),
            nn.BatchNorm2d(writes),
        )
        self.short_cut: nn.Module = nn.Identity()
        if stride != 1 or reads != writes:
            self.short_cut = nn.Sequential(
                nn.Conv2d(reads, writes, 1, stride, bias=False), nn.BatchNorm2d(writes)
            )

    def forward(self, image: Tensor) -> Tensor:
        """[batch, reads, h, w] -> [batch, writes, h / stride, w / stride]."""
        return torch.relu(self.body(image) + self.short_cut(image))


class ResNet18(nn.Module):
    """ResNet-18 (He et al. 2015, table 1) with 1000 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        widths = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
        blocks: list[nn.Module] = []
        for reads, writes, stride in widths:
            blocks += [Residual(reads, writes, stride), Residual(writes, writes, 1)]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(512, 1000)

    def forward(self, image: Tensor) -> Tensor:
        """[batch, 3, 224, 224] -> [batch, 1000]."""
        scores: Tensor = self.head(self.blocks(self.stem(image)).mean((2, 3)))
        return scores
