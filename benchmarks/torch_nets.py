"""PyTorch versions of the nets of train.py, layer by layer."""

import torch
from torch import nn


class Block(nn.Module):
    """Residual block of two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)])
        same = inputs == outputs and stride == 1
        projection = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut = nn.Identity() if same else projection

    def forward(self, x):
        """Returns (B, outputs, H / stride, W / stride)."""
        y = torch.relu(self.norms[0](self.first(x)))
        return torch.relu(self.norms[1](self.second(y)) + self.shortcut(x))


def resnet18() -> nn.Module:
    """Returns ResNet-18."""
    widths, layers = (64, 64, 128, 256, 512), []
    for stage in range(4):
        layers += [Block(widths[stage], widths[stage + 1], 1 if stage == 0 else 2)]
        layers += [Block(widths[stage + 1], widths[stage + 1], 1)]
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def mlp() -> nn.Module:
    """Returns the multilayer perceptron."""
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))


class Transformer(nn.Module):
    """Vision transformer of 4 blocks, width 128, on 32x32 images in patches of 4."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 128, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 128))
        self.places = nn.Parameter(torch.zeros(1, 65, 128))
        block = nn.TransformerEncoderLayer(128, 4, 512, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(block, 4, nn.LayerNorm(128, 1e-6), enable_nested_tensor=False)
        self.head = nn.Linear(128, 10)

    def forward(self, images):
        """Returns logits (B, 10)."""
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        return self.head(self.encoder(x)[:, 0])


NETS = {"mlp": mlp, "resnet18": resnet18, "transformer": Transformer}
