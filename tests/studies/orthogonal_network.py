"""A network whose layers lose nothing: orthogonal linear maps, one after another."""

import torch
from torch import nn


class Orthogonal(nn.Module):
    """Six rotations of the pixels and a linear head."""

    def __init__(self, classes: int, pixels: int) -> None:
        super().__init__()
        self.flat = nn.Flatten()
        blocks = [nn.Linear(pixels, pixels, bias=False) for _ in range(6)]
        for block in blocks:
            nn.init.orthogonal_(block.weight)
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(pixels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.flat(x)))


def build(num_classes: int, image_shape: tuple[int, ...]) -> nn.Module:
    return Orthogonal(num_classes, torch.Size(image_shape).numel())
