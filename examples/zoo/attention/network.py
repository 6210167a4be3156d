"""Additive attention over words that know their neighbours."""

import torch
from torch import Tensor, nn

WORDS = 48
"""Of a snippet: longer ones are cut, shorter ones padded with word 0."""
WIDTH = 48


class Rating(nn.Module):
    """Numbers of words -> an opinion from -4 to 4, and the weight of each word in it."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, WIDTH, padding_idx=0)
        self.neighbours = nn.Conv1d(WIDTH, WIDTH, kernel_size=3, padding=1)
        self.dropout = nn.Dropout(0.5)
        self.looks = nn.Linear(WIDTH, WIDTH)
        self.score = nn.Linear(WIDTH, 1, bias=False)
        self.opinion = nn.Linear(WIDTH, 1)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """*ids* [batch, 48] -> opinions [batch, 1], weights [batch, 48]."""
        x = self.dropout(self.words(ids))
        x = x + torch.relu(self.neighbours(x.transpose(1, 2))).transpose(1, 2)
        scores = self.score(torch.tanh(self.looks(x)))[:, :, 0]
        weights = scores.masked_fill(ids == 0, -1e9).softmax(dim=1)
        mean = (weights[:, None] @ x)[:, 0]
        opinion: Tensor = 4 * torch.tanh(self.opinion(self.dropout(mean)))
        return opinion, weights
