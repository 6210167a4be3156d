"""The network: two convolutions that find strokes, two layers that name the digit.

It takes grey values from 0 (paper) to 1 (ink), and answers with the probability of each digit
and the most probable one.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

WEIGHTS = Path(__file__).parent / "models" / "digits" / "1" / "model.onnx"


class Strokes(nn.Module):
    """[batch, 1, 8, 8] -> features [batch, 32, 4, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, kernel_size=3, padding=1)
        self.second = nn.Conv2d(16, 32, kernel_size=3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Find strokes, then corners and arcs."""
        fine = torch.relu(self.first(image))
        return nn.functional.max_pool2d(torch.relu(self.second(fine)), kernel_size=2)


class Naming(nn.Module):
    """Features [batch, 32, 4, 4] -> a number for each digit [batch, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(512, 64)
        self.dropout = nn.Dropout(0.25)
        self.digits = nn.Linear(64, 10)

    def forward(self, features: Tensor) -> Tensor:
        """Logits, as the loss wants them."""
        hidden = torch.relu(self.hidden(features.flatten(start_dim=1)))
        logits: Tensor = self.digits(self.dropout(hidden))
        return logits


class Answer(nn.Module):
    """Features -> what a client reads."""

    def __init__(self, naming: Naming) -> None:
        super().__init__()
        self.naming = naming

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Probabilities [batch, 10] and the digit [batch, 1]."""
        logits = self.naming(features)
        return {
            "probabilities": logits.softmax(dim=1),
            "digit": logits.argmax(dim=1, keepdim=True),
        }


class Digits(nn.Module):
    """The whole model: an image in, probabilities and the digit out."""

    def __init__(self) -> None:
        super().__init__()
        self.strokes = Strokes()
        self.answer = Answer(Naming())

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """*image* is [batch, 1, 8, 8], from 0 to 1."""
        answer: dict[str, Tensor] = self.answer(self.strokes(image))
        return answer


def trained() -> Digits:
    """The network with the weights that version 1 of the model holds.

    So ``penstock shard examples.digits.network:trained --input image=-1,1,8,8:FP32`` cuts it.
    """
    import onnx

    tensors = onnx.load(str(WEIGHTS)).graph.initializer
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in tensors}
    network = Digits()
    network.load_state_dict(
        {name: torch.from_numpy(np.array(weights[name])) for name in network.state_dict()}
    )
    return network.eval()
