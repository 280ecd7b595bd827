# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""CLIP models in OpenCLIP's format, to start a new CAT-Seg model from."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import CLIPConfig, CLIPModel

from .checkpoint import read_checkpoint
from .clip import OPEN_CLIP_VISION_HEADS, clip_config, clip_moves
from .errors import ConversionError
from .moves import apply_moves
from .plan import check_tensors
from .shapes import Shapes


FILE_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
CONFIG_NAME = "open_clip_config.json"
POSITIONS = "visual.positional_embedding"
DROPPED = {r"attn_mask": "the causal mask is computed", r"(input_resolution|context_length|vocab_size)": "a size"}


def find_open_clip(folder: str | os.PathLike) -> Path | None:
    """OpenCLIP's weights in a folder.

    Args:
        folder (`str` or `os.PathLike`): The folder.

    Returns:
        `Path` or `None`: The file, if there is one.
    """
    return next((path for name in FILE_NAMES if (path := Path(folder) / name).is_file()), None)


def load_open_clip(folder: str | os.PathLike, image_size: int | None = None) -> CLIPModel:
    """Loads OpenCLIP's weights as Transformers' `CLIPModel`.

    Heads and activation are read from `open_clip_config.json` where it lies beside the weights; else they are those of
    OpenCLIP's models of the same width.

    Args:
        folder (`str` or `os.PathLike`): A folder with `open_clip_pytorch_model.bin` or `.safetensors`, or such a file.
        image_size (`int`, *optional*):
            Side in pixels of the images that the model will see: by default 24 patches, but at most 384. Position
            embeddings are resized to it once, as OpenCLIP's `force_image_size` does (bicubic with antialiasing).

    Returns:
        `CLIPModel`.

    Raises:
        ConversionError: If there are no such weights, or they are not a vision transformer's.
    """
    path = Path(folder)
    path = find_open_clip(path) if path.is_dir() else path
    if path is None:
        raise ConversionError(f"{folder} has none of {', '.join(FILE_NAMES)}: give a folder with OpenCLIP's weights.")
    tensors, _ = read_checkpoint(path)
    patch_size = Shapes({key: tuple(tensor.shape) for key, tensor in tensors.items()}).of("visual.conv1.weight", 4)[-1]
    if image_size is None:
        image_size = min(24 * patch_size, 384 // patch_size * patch_size)
    config, state = convert_open_clip_state_dict(tensors, _read_config(path.parent), image_size)
    return CLIPModel.from_pretrained(None, config=config, state_dict=state)


def _read_config(folder: Path) -> dict:
    path = folder / CONFIG_NAME
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return dict(config.get("model_cfg", config))
    except (ValueError, TypeError, AttributeError) as error:
        raise ConversionError(f"{path} is not a configuration of OpenCLIP: {error}") from error


def convert_open_clip_state_dict(
    tensors: Mapping[str, torch.Tensor], model_config: Mapping | None = None, image_size: int | None = None
) -> tuple[CLIPConfig, dict[str, torch.Tensor]]:
    """OpenCLIP's weights under the keys of Transformers' `CLIPModel`.

    Args:
        tensors (`Mapping[str, torch.Tensor]`): OpenCLIP's state dict.
        model_config (`Mapping`, *optional*): The part `model_cfg` of `open_clip_config.json`.
        image_size (`int`, *optional*): As for [`load_open_clip`]; by default position embeddings stay as they are.

    Returns:
        `tuple[CLIPConfig, dict[str, torch.Tensor]]`: Configuration and float32 state dict.

    Raises:
        ConversionError: If keys are missing or left over, or a shape does not fit.
    """
    model_config = model_config or {}
    vision, text = dict(model_config.get("vision_cfg") or {}), dict(model_config.get("text_cfg") or {})
    shapes = Shapes({key: tuple(tensor.shape) for key, tensor in tensors.items()})
    width, _, patch_size, _ = shapes.of("visual.conv1.weight", 4)
    head_width = vision.get("head_width")
    config = clip_config(
        shapes,
        "",
        vision_heads=width // head_width if head_width else OPEN_CLIP_VISION_HEADS.get(width),
        text_heads=text.get("heads"),
        hidden_act="quick_gelu" if model_config.get("quick_gelu") else "gelu",
    )
    if image_size is not None:
        tensors = {**tensors, POSITIONS: resize_positions(tensors[POSITIONS], image_size // patch_size)}
        shapes = Shapes({**shapes, POSITIONS: tuple(tensors[POSITIONS].shape)})
        config.vision_config.image_size = image_size // patch_size * patch_size
    with torch.device("meta"):
        expected = {key: tuple(tensor.shape) for key, tensor in CLIPModel(config).state_dict().items()}
    moves = clip_moves(config, "", target="")
    check_tensors(shapes, moves, expected, DROPPED, "OpenCLIP")
    return config, {key: tensor.float().contiguous() for key, tensor in apply_moves(moves, tensors).items()}


def resize_positions(positions: torch.Tensor, side: int) -> torch.Tensor:
    """Resizes position embeddings to another grid, as OpenCLIP does when it loads weights.

    Args:
        positions (`torch.FloatTensor` of shape `(1 + n * n, E)`): The class token's and a square grid's.
        side (`int`): Side of the new grid.

    Returns:
        `torch.FloatTensor` of shape `(1 + side * side, E)`.
    """
    old_side = math.isqrt(len(positions) - 1)
    if old_side == side:
        return positions
    grid = positions[1:].float().T.unflatten(1, (old_side, old_side))[None]
    grid = F.interpolate(grid, size=(side, side), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([positions[:1].float(), grid[0].flatten(1).T])
