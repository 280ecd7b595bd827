# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The way back: a model of this package as a checkpoint of the official code of CVPR 2024."""

import os
from pathlib import Path

import torch
from safetensors import SafetensorError

from ..atomic_files import written_whole
from ..modeling_catseg import CatSegForSemanticSegmentation
from . import cvpr
from .errors import ConversionError
from .moves import invert_moves


def original_state_dict(model: CatSegForSemanticSegmentation) -> dict[str, torch.Tensor]:
    """The weights of a model under the keys of the official code of CVPR 2024, with its buffers.

    Args:
        model (`CatSegForSemanticSegmentation`): A model without appearance backbone.

    Returns:
        `dict[str, torch.Tensor]`: What `model.state_dict()` of the original has.

    Raises:
        ConversionError: If the official code cannot run this model.

    Example:

    ```python
    >>> from catseg_hf.conversion import original_state_dict

    >>> weights = original_state_dict(model)
    ```
    """
    config = model.config
    if config.backbone_config is not None or config.dense_residual != "class_token":
        raise ConversionError(
            "The official code of CVPR 2024 has no appearance backbone and adds CLIP's class token: it cannot run this "
            "model, which is of v1 or of MMSegmentation."
        )
    state = model.state_dict()
    moves = cvpr.moves(config)
    left_over = state.keys() - {move.target for move in moves} - {"model.vocabulary.input_ids"}
    if left_over:
        raise ConversionError(f"The official code has no place for {', '.join(sorted(left_over))}.")
    original = {key: _with_own_storage(tensor) for key, tensor in invert_moves(moves, state).items()}
    side = config.image_size // config.patch_size
    if config.window_size < side:
        for layer in range(config.num_hidden_layers):
            key = f"{cvpr.AGGREGATOR}layers.{layer}.swin_block.block_2.attn_mask"
            original[key] = cvpr.shifted_window_mask(side, config.window_size)
    return original


def _with_own_storage(tensor: torch.Tensor) -> torch.Tensor:
    # `torch.save` would write the whole tensor that a part was cut from.
    tensor = tensor.contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def write_original(folder: str | os.PathLike, output: str | os.PathLike) -> None:
    """Writes a folder of this package as a checkpoint of the official code of CVPR 2024.

    Args:
        folder (`str` or `os.PathLike`): A folder written by `save_pretrained` or by a conversion.
        output (`str` or `os.PathLike`): The `.pth` file to make.

    Raises:
        ConversionError: If the folder has no such model or the file exists; nothing is left behind then.

    Example:

    ```python
    >>> from catseg_hf.conversion import convert_checkpoint, write_original

    >>> report = convert_checkpoint("model_base.pth", "back")
    >>> write_original("back", "model_again.pth")
    ```
    """
    output = Path(output)
    if output.exists():
        raise ConversionError(f"{output} exists already: give a new file, or remove it first.")
    if not (Path(folder) / "config.json").is_file():
        raise ConversionError(f"{folder} has no config.json: give a folder written by `save_pretrained`.")
    try:
        model = CatSegForSemanticSegmentation.from_pretrained(folder)
    except (OSError, ValueError, SafetensorError) as error:
        raise ConversionError(f"The model in {folder} cannot be loaded: {error}") from error
    tensors = original_state_dict(model)
    try:
        output.absolute().parent.mkdir(parents=True, exist_ok=True)
        # Given a path, `torch.save` would write that, too, into the file.
        with written_whole(output) as unfinished, open(unfinished, "wb") as file:
            torch.save({"model": tensors}, file)
    except OSError as error:
        raise ConversionError(f"{output} cannot be written: {error}") from error
