# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Decoder (paper, section 3.4): two guided upsamplings of the aggregated cost volume, and logits."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .chunking_catseg import joined, run, split
from .configuration_catseg import CatSegConfig
from .layers_catseg import CatSegGroupNorm


class CatSegGuidedUpsampling(nn.Module):
    """Makes a transposed convolution (2 x 2, stride 2) and the 3 x 3 convolution behind it one transposed convolution.

    The original computes `conv(cat([transposed(x), guidance]))`. What comes of `x` is one transposed convolution, with
    the 4 x 4 kernel that the two make together. What comes of the guidance and of the first one's bias (less at the
    border, where the 3 x 3 kernel sees zeros) is the same for all classes: a map added at the end.
    """

    def __init__(self, *, in_channels: int, out_channels: int, guidance_channels: int) -> None:
        super().__init__()
        middle_channels = in_channels - guidance_channels
        self.transposed_weight = nn.Parameter(torch.empty(in_channels, middle_channels, 2, 2))
        self.transposed_bias = nn.Parameter(torch.empty(middle_channels))
        self.conv_weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))

    def forward(self, guidance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            guidance (`torch.FloatTensor` of shape `(B, g, 2h, 2w)`): Projected guidance.

        Returns:
            The kernel of shape `(in, out, 4, 4)` and the class-independent map of shape `(B, 1, out, 2h, 2w)`.
        """
        upsampled_weight = self.conv_weight[:, : len(self.transposed_bias)]
        kernel = F.conv2d(self.transposed_weight, upsampled_weight, padding=2)
        bias = self.transposed_bias.view(1, -1, 1, 1).expand(guidance.shape[0], -1, *guidance.shape[-2:])
        class_independent = F.conv2d(torch.cat([bias, guidance.to(bias.dtype)], dim=1), self.conv_weight, padding=1)
        return kernel, class_independent.contiguous(memory_format=torch.channels_last)[:, None]


class CatSegDecoderStage(nn.Module):
    """Upsamples by 2: transposed convolution, concatenated guidance, two convolutions with group norm and ReLU."""

    def __init__(self, *, in_channels: int, out_channels: int, guidance_channels: int) -> None:
        super().__init__()
        self.upsampling = CatSegGuidedUpsampling(
            in_channels=in_channels, out_channels=out_channels, guidance_channels=guidance_channels
        )
        self.norm1 = CatSegGroupNorm(out_channels // 16, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.norm2 = CatSegGroupNorm(out_channels // 16, out_channels)

    def forward(
        self, hidden_states: torch.Tensor, kernel: torch.Tensor, class_independent: torch.Tensor
    ) -> torch.Tensor:
        """
        Args:
            hidden_states (`torch.FloatTensor` of shape `(B, T, h, w, in)`): Maps of some classes.
            kernel, class_independent (`torch.FloatTensor`): Result of `upsampling`.

        Returns:
            `torch.FloatTensor` of shape `(B, T, 2h, 2w, out)`.
        """
        batch_size, num_classes = hidden_states.shape[:2]
        maps = hidden_states.flatten(0, 1).permute(0, 3, 1, 2)  # B * T, in, h, w, channels last
        maps = F.conv_transpose2d(maps, kernel, stride=2, padding=1)  # B * T, out, 2h, 2w
        maps = maps.unflatten(0, (batch_size, num_classes)).add_(class_independent).flatten(0, 1)
        maps = F.relu(self.norm1(maps), inplace=True)
        maps = F.relu(self.norm2(self.conv2(maps)), inplace=True)
        return maps.permute(0, 2, 3, 1).unflatten(0, (batch_size, num_classes))


class CatSegDecoder(nn.Module):
    """Two guided upsamplings of the aggregated cost volume and a last convolution to logits (paper, section 3.4)."""

    gradient_checkpointing = False

    def __init__(self, config: CatSegConfig, *, guidance_channels: Sequence[int]) -> None:
        super().__init__()
        if config.backbone_config is None:
            # CLIP's maps all have the size of its patch grid: 2 and 4 times as large they fit the two stages.
            width = config.clip_config.vision_config.hidden_size
            self.guidance_upsamplings = nn.ModuleList(
                [
                    nn.ConvTranspose2d(width, channels, kernel_size=factor, stride=factor)
                    for channels, factor in zip(guidance_channels, (2, 4), strict=True)
                ]
            )
        else:
            self.guidance_upsamplings = None
        self.guidance_projections = nn.ModuleList(
            [
                nn.Conv2d(channels, projected, kernel_size=3, padding=1)
                for channels, projected in zip(guidance_channels, config.decoder_guidance_sizes, strict=True)
            ]
        )
        sizes = [config.hidden_size, *config.decoder_hidden_sizes]
        self.stages = nn.ModuleList(
            [
                CatSegDecoderStage(in_channels=sizes[i], out_channels=sizes[i + 1], guidance_channels=projected)
                for i, projected in enumerate(config.decoder_guidance_sizes)
            ]
        )
        self.dropout = nn.Dropout2d(config.decoder_dropout)
        self.head = nn.Conv2d(sizes[-1], 1, kernel_size=3, padding=1)

    def forward(self, hidden_states: torch.Tensor, guidance: Sequence[torch.Tensor], chunk_size: int) -> torch.Tensor:
        """
        Args:
            hidden_states (`torch.FloatTensor` of shape `(B, T, h, w, C)`): Aggregated cost volume.
            guidance (`Sequence[torch.FloatTensor]`): The two finer guidance maps.
            chunk_size (`int`): Number of class maps at a time.

        Returns:
            `torch.FloatTensor` of shape `(B, T, 4h, 4w)`: Logits.
        """
        prepared = []
        for i, stage in enumerate(self.stages):
            maps = guidance[i] if self.guidance_upsamplings is None else self.guidance_upsamplings[i](guidance[i])
            prepared += stage.upsampling(F.relu(self.guidance_projections[i](maps)))
        chunks = split(hidden_states, max(1, chunk_size // hidden_states.shape[0]), dim=1)
        decoded = (run(self, self._decode, chunk, *prepared) for chunk in chunks)
        return joined(decoded, hidden_states.shape[1], dim=1)

    def _decode(self, hidden_states: torch.Tensor, *prepared: torch.Tensor) -> torch.Tensor:
        for i, stage in enumerate(self.stages):
            hidden_states = stage(hidden_states, prepared[2 * i], prepared[2 * i + 1])
        maps = self.dropout(hidden_states.flatten(0, 1).permute(0, 3, 1, 2))
        return self.head(maps).squeeze(1).unflatten(0, hidden_states.shape[:2])
