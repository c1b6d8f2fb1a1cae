"""A network of `benchmarks.tools` through torch.compile: `python tools_torch.py NAME BATCH [info]`; needs torch alone.

Prints how long compiling took, or (`info`) what torchinfo says of it.
"""
import sys
import time

import torch
from torch import nn


class Block(nn.Module):
    """Three convolutions with batch normalization, and what goes around them."""

    def __init__(self, channels: int, mid: int, stride: int):
        super().__init__()
        def conv(a: int, b: int, size: int, stride: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(a, b, size, stride, size // 2), nn.BatchNorm2d(b))
        self.inner = nn.Sequential(conv(channels, mid, 1, stride), nn.ReLU(), conv(mid, mid, 3, 1), nn.ReLU(),
                                   conv(mid, 4 * mid, 1, 1))
        self.around = conv(channels, 4 * mid, 1, stride) if stride > 1 or channels != 4 * mid else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.inner(x) + self.around(x))


def resnet50() -> nn.Module:
    """As `graphk.applications.resnet50` has it, channels first."""
    blocks, channels = [], 64
    for mid, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for i in range(count):
            blocks.append(Block(channels, mid, stride if i == 0 else 1))
            channels = 4 * mid
    return nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1), *blocks,
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000), nn.Softmax(1))


class Lstm(nn.Module):
    """Of the user's script; cells: step by step, as torch.compile refuses `nn.LSTM`."""

    def __init__(self, cells: bool):
        super().__init__()
        self.table, self.last, self.cells = nn.Embedding(1000, 32), nn.Linear(32, 1), cells
        self.lstm = nn.LSTMCell(32, 32) if cells else nn.LSTM(32, 32, batch_first=True)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids)
        if not self.cells:
            return torch.sigmoid(self.last(self.lstm(x)[0][:, -1]))
        h = c = x.new_zeros(x.shape[0], 32)
        for t in range(x.shape[1]):
            h, c = self.lstm(x[:, t], (h, c))
        return torch.sigmoid(self.last(h))


def main() -> None:
    name, batch = sys.argv[1], int(sys.argv[2])
    torch.manual_seed(0)
    net = (resnet50() if name == "resnet50" else Lstm(name == "lstm-cells")).eval()
    x = torch.rand(batch, 3, 224, 224) if name == "resnet50" else torch.randint(0, 1000, (batch, 20))
    if "info" in sys.argv:
        import torchinfo
        print(torchinfo.summary(net, input_data=x, verbose=0, col_names=(
            "input_size", "output_size", "num_params", "mult_adds")))
        return
    start = time.perf_counter()
    with torch.no_grad():
        torch.compile(net)(x)
    print(f"compiled and run once in {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
