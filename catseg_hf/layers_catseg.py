# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Small layers that several parts of the model share."""

import torch
import torch.nn.functional as F
from torch import nn


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float32, where it is narrower."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def normalize(embeds: torch.Tensor) -> torch.Tensor:
    """Embeddings of length 1, of and to any shape `(..., D)`; the length is computed in float32 at least."""
    return F.normalize(widened(embeds), dim=-1).to(embeds.dtype)


class CatSegMlp(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, *, hidden_size: int, mlp_ratio: int, activation: nn.Module) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden_size, hidden_size * mlp_ratio)
        self.activation = activation
        self.fc2 = nn.Linear(hidden_size * mlp_ratio, hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Of and to any shape `(..., hidden_size)`."""
        return self.fc2(self.activation(self.fc1(hidden_states)))


class CatSegGroupNorm(nn.GroupNorm):
    """Group norm that leaves maps with channels last as they are.

    On a GPU, PyTorch's own copies them to channels first, and the convolutions behind it, which want channels last,
    copy them there and back: with many classes, by an estimate, a tenth of all that the model reads and writes.
    """

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Of and to shape `(N, C, h, w)`; where no gradient is recorded, on a GPU the result takes the place of the
        maps.
        """
        # Processors have a kernel for channels last, Apple's GPUs lack others, a compiler makes one, and training wants
        # the fused gradient.
        if maps.device.type in ("cpu", "mps") or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return super().forward(maps)
        return self.normalize_in_place(maps)

    def normalize_in_place(self, maps: torch.Tensor) -> torch.Tensor:
        """The same in any layout: the maps `(N, C, h, w)` times one number for each channel, plus another."""
        groups = maps.unflatten(1, (self.num_groups, -1))  # N, G, C / G, h, w
        if maps.dtype == torch.float16:
            groups = groups.float()  # a variance can be beyond it
        variance, mean = torch.var_mean(groups, dim=(2, 3, 4), correction=0, keepdim=True)
        shape = groups.shape[1:3]
        scale = (widened(variance) + self.eps).rsqrt() * self.weight.view(*shape, 1, 1)  # N, G, C / G, 1, 1
        shift = torch.addcmul(self.bias.view(*shape, 1, 1), mean, scale, value=-1)  # as wide as the scale
        return torch.addcmul(shift.flatten(1, 2), maps, scale.flatten(1, 2), out=maps)


class CatSegQuickGELU(nn.Module):
    """CLIP's activation x sigmoid(1.702 x), as silu(1.702 x) / 1.702.

    That is one fresh tensor instead of three, each as costly as its arithmetic, and one kept for the backward pass
    instead of two: with five views and few classes, a tenth of the time that a photo takes on a CPU.
    """

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Of and to any shape."""
        scaled = 1.702 * hidden_states
        return F.silu(scaled, inplace=not torch.is_grad_enabled()).mul_(1 / 1.702)
