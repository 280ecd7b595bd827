# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A key mapping as data: a list of moves from (parts of) source tensors to (parts of) target tensors.

Moves only rename, cut, join and rearrange. Applied from the left to the right they convert a checkpoint; from the
right to the left they restore it bit by bit, and give gradients under the original names.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch

from .errors import ConversionError


@dataclass(frozen=True)
class Layout:
    """A rearrangement of the entries of a tensor, and its inverse.

    Args:
        forward (`Callable[[torch.Tensor], torch.Tensor]`): From the source's arrangement to the target's.
        inverse (`Callable[[torch.Tensor], torch.Tensor]`): Back.
    """

    forward: Callable[[torch.Tensor], torch.Tensor]
    inverse: Callable[[torch.Tensor], torch.Tensor]


def _merge_channels_first(tensor: torch.Tensor) -> torch.Tensor:
    # Channel-major with (row, column) inside, to position-major with the column outside.
    return tensor.unflatten(-1, (-1, 4))[..., [0, 2, 1, 3]].transpose(-1, -2).flatten(-2)


def _split_channels_first(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.unflatten(-1, (4, -1)).transpose(-1, -2)[..., [0, 2, 1, 3]].flatten(-2)


KEEP = Layout(lambda tensor: tensor, lambda tensor: tensor)
TRANSPOSED = Layout(lambda tensor: tensor.T, lambda tensor: tensor.T)
# (1, 1, C) in the source, (C,) in the target.
FLAT = Layout(lambda tensor: tensor.flatten(), lambda tensor: tensor[None, None])
# Patch merging reads four neighbours: MMSegmentation channel by channel, Transformers neighbour by neighbour.
PATCH_MERGING = Layout(_merge_channels_first, _split_channels_first)

Part = tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True)
class Move:
    """One source tensor, or a part of it, becomes one target tensor, or a part of it.

    Args:
        source (`str`): Key in the original checkpoint.
        target (`str`): Key in the state dict of [`CatSegForSemanticSegmentation`].
        source_part (`tuple` of `(int, int)` or `None`, *optional*):
            Start and end along each leading dimension of the source (`None`: all of it). Empty: the whole tensor.
        target_part (`tuple` of `(int, int)` or `None`, *optional*): The same in the target.
        layout (`Layout`, *optional*): How the part is rearranged on its way.
    """

    source: str
    target: str
    source_part: Part = ()
    target_part: Part = ()
    layout: Layout = KEEP


def rename(source: str, target: str, names: Iterable[str] = ("weight", "bias")) -> list[Move]:
    """Moves of the parameters of a module that is only renamed.

    Args:
        source (`str`): Name of the module in the original checkpoint.
        target (`str`): Its name in this package.
        names (`Iterable[str]`, *optional*): Its parameters.

    Returns:
        `list[Move]`: One move for each.
    """
    return [Move(f"{source}.{name}", f"{target}.{name}") for name in names]


def _cut(tensor: torch.Tensor, part: Part) -> torch.Tensor:
    for dimension, limits in enumerate(part):
        if limits is not None:
            tensor = tensor[(slice(None),) * dimension + (slice(*limits),)]
    return tensor


def _join(moves: list[tuple[torch.Tensor, Part]]) -> torch.Tensor:
    region, part = moves[0]
    if len(moves) == 1 and all(limits is None for limits in part):
        return region
    shape = list(region.shape)
    for dimension in range(region.dim()):
        ends = [part[dimension][1] for _, part in moves if dimension < len(part) and part[dimension] is not None]
        shape[dimension] = max(ends, default=shape[dimension])
    joined = region.new_empty(shape)
    written = 0
    for region, part in moves:
        place = _cut(joined, part)
        if place.shape != region.shape:
            raise ConversionError(f"a part of shape {tuple(region.shape)} does not fit into {tuple(place.shape)}")
        place.copy_(region)
        written += region.numel()
    if written != math.prod(shape):
        raise ConversionError(f"parts with {written} entries do not fill a tensor of shape {tuple(shape)}")
    return joined


def _group(moves: Iterable[Move], key: str) -> dict[str, list[Move]]:
    groups: dict[str, list[Move]] = {}
    for move in moves:
        groups.setdefault(getattr(move, key), []).append(move)
    return groups


def apply_moves(moves: Iterable[Move], sources: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Target tensors made from source tensors. A target that needs no joining is a view of its source.

    Args:
        moves (`Iterable[Move]`): The mapping.
        sources (`Mapping[str, torch.Tensor]`): Tensors by original key.

    Returns:
        `dict[str, torch.Tensor]`: Tensors by target key.
    """
    return {
        target: _join(
            [(move.layout.forward(_cut(sources[move.source], move.source_part)), move.target_part) for move in group]
        )
        for target, group in _group(moves, "target").items()
    }


def invert_moves(moves: Iterable[Move], targets: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Source tensors made from target tensors: the exact inverse of [`apply_moves`].

    Args:
        moves (`Iterable[Move]`): The mapping.
        targets (`Mapping[str, torch.Tensor]`): Tensors by target key.

    Returns:
        `dict[str, torch.Tensor]`: Tensors by original key.
    """
    return {
        source: _join(
            [(move.layout.inverse(_cut(targets[move.target], move.target_part)), move.source_part) for move in group]
        )
        for source, group in _group(moves, "source").items()
    }
