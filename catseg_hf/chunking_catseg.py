# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Working on a few class maps at a time: what bounds the model's memory, and keeps a processor's cache warm."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn
from transformers.utils import logging

from .configuration_catseg import CatSegConfig


logger = logging.get_logger(__name__)

ALL = torch.iinfo(torch.int32).max
CPU_CHUNK_BYTES = 2_500_000  # size of the class maps worked on at a time: what stays in the cache is fastest
# Memory of all that is made of the class maps worked on at a time: enough for the 256 that models keep of many classes.
GPU_CHUNK_BYTES = 5 * 2**28
CPU_VIEWS_AT_A_TIME, GPU_VIEWS_AT_A_TIME = 8, 32  # that go through CLIP together

Result = TypeVar("Result")


def class_chunk_size(config: CatSegConfig, height: int, width: int, device: torch.device) -> int:
    """Number of class maps that the aggregator works on at a time.

    Args:
        config (`CatSegConfig`): Its `class_chunk_size` decides, where it is set.
        height, width (`int`): Size of the patch grid.
        device (`torch.device`): Where the model computes.

    Returns:
        `int`: As many as stay in a processor's cache, or need a bounded part of a GPU's memory, whose driver is not
        asked. All of them while the model is compiled, since a graph's size must not depend on it.
    """
    if config.class_chunk_size is not None:
        return config.class_chunk_size
    if torch.compiler.is_compiling():
        return ALL
    if device.type == "cpu":
        return max(1, CPU_CHUNK_BYTES // bytes_per_class_map(config, height, width))
    # About a dozen tensors of a class map's size, four times as wide inside the MLP, exist at a time.
    return max(1, GPU_CHUNK_BYTES // (16 * bytes_per_class_map(config, height, width)))


def bytes_per_class_map(config: CatSegConfig, height: int, width: int) -> int:
    """Size in float32 of the aggregator's map of one class, on a patch grid of that height and width."""
    return 4 * height * width * config.hidden_size


def views_at_a_time(device: torch.device, *, needs_all: bool) -> int:
    """Number of views that go through CLIP together, so that memory does not grow with them.

    Args:
        device (`torch.device`): Where the model computes.
        needs_all (`bool`): Whether something is wanted that is of all views together.

    Returns:
        `int`: As many as keep the device busy; all of them where a gradient is recorded or the model is compiled.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or needs_all:
        return ALL
    return CPU_VIEWS_AT_A_TIME if device.type == "cpu" else GPU_VIEWS_AT_A_TIME


def aggregated_views(
    config: CatSegConfig, num_classes: int, chunk_size: int, *, training: bool, needs_all: bool
) -> int:
    """Number of views that go through aggregator and decoder together.

    Args:
        config (`CatSegConfig`): Of the model.
        num_classes (`int`): Number of class maps of each view.
        chunk_size (`int`): Number of class maps that are worked on at a time.
        training (`bool`): Whether the model is in training mode.
        needs_all (`bool`): Whether something is wanted that is of all views together.

    Returns:
        `int`: As many as have their class maps in one chunk: a chunk of several larger views is no contiguous part of
        their maps, and would be copied again and again. All of them where a gradient is recorded or the model is
        compiled.
    """
    if config.early_rejection is not None and not training:
        return 1  # or what is rejected in one view would depend on the others
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or needs_all:
        return ALL
    return max(1, chunk_size // num_classes)


def with_less_memory(compute: Callable[..., Result], sizes: Mapping[str, tuple[int, int]]) -> Result:
    """Calls a function with sizes, and as long as the device's memory does not suffice, again with half of them.

    Args:
        compute (`Callable`): Takes the sizes in their order. Its result must not depend on them.
        sizes (`Mapping[str, tuple[int, int]]`): By what it is: how much to compute at a time, and of how much.

    Returns:
        What `compute` returns.

    Raises:
        torch.OutOfMemoryError: If the memory does not suffice for sizes of 1, or a gradient is recorded, for which
            everything has to be kept anyway.
    """
    first = left = [size for size, _ in sizes.values()]
    if torch.compiler.is_compiling():
        return compute(*left)
    while True:
        try:
            result = compute(*left)
            break
        except torch.OutOfMemoryError:
            if torch.is_grad_enabled() or max(left) == 1:
                raise
        # Here the error is gone, which held the frames with all their tensors.
        left = [max(1, min(size, total) // 2) for size, (_, total) in zip(left, sizes.values(), strict=True)]
    if left != first:
        tried = " and ".join(f"{min(size)} {what}" for what, size in sizes.items())
        done = " and ".join(f"{size} {what}" for size, what in zip(left, sizes, strict=True))
        logger.warning_once(
            f"Out of memory with {tried} at a time: done with {done}. The result is the same, but takes longer."
        )
    return result


def joined(chunks: Iterable[torch.Tensor], size: int, dim: int) -> torch.Tensor:
    """Concatenates chunks. Where no gradient is recorded, each takes its place at once, so that none exists twice.

    Args:
        chunks (`Iterable[torch.Tensor]`): Chunks that are made one by one.
        size (`int`): Of all of them along the dimension.
        dim (`int`): The dimension.

    Returns:
        `torch.Tensor`.
    """
    whole, start = None, 0
    if torch.is_grad_enabled():
        chunks = list(chunks)
        return chunks[0] if len(chunks) == 1 else torch.cat(chunks, dim=dim)
    for chunk in chunks:
        if chunk.shape[dim] == size:
            return chunk
        if whole is None:
            whole = chunk.new_empty([*chunk.shape[:dim], size, *chunk.shape[dim + 1 :]])
        whole.narrow(dim, start, chunk.shape[dim]).copy_(chunk)
        start += chunk.shape[dim]
    return whole


def run(module: nn.Module, function: Callable[..., Any], *args: Any) -> Any:
    """Calls `function(*args)`, with gradient checkpointing where it is enabled for `module`."""
    if module.gradient_checkpointing and module.training:
        return module._gradient_checkpointing_func(function, *args)
    return function(*args)


def split(tensor: torch.Tensor, size: int, dim: int) -> Sequence[torch.Tensor]:
    """Pieces of a tensor; nothing to do where one piece is enough: no exported graph has more."""
    return [tensor] if tensor.shape[dim] <= size else tensor.split(size, dim=dim)


def over_chunks(
    module: nn.Module,
    function: Callable[..., torch.Tensor],
    hidden_states: torch.Tensor,
    *cut_alike: torch.Tensor,
    shared: Sequence[torch.Tensor | None],
    dim: int,
    chunk_size: int,
) -> torch.Tensor:
    """Applies a function that treats every class (or every position) by itself to a few of them at a time.

    Where no gradient is recorded, the results take the place of `hidden_states`, so that these maps, the largest tensor
    of the model, exist once.

    Args:
        module (`nn.Module`): The module whose gradient checkpointing applies.
        function (`Callable`): Takes a part of the maps and returns as much.
        hidden_states (`torch.FloatTensor` of shape `(B, T, ...)`): Maps of all classes, which the caller needs no more.
        cut_alike (`torch.Tensor` of shape `(B, T, ...)`): Further arguments, cut in the same way.
        shared (`Sequence[torch.Tensor | None]`): Further arguments that are the same for all parts.
        dim (`int`): The dimension that is cut: 1 for classes, 2 for positions.
        chunk_size (`int`): Size of a part along it.

    Returns:
        `torch.FloatTensor` of shape `(B, T, ...)`.
    """
    if hidden_states.shape[dim] <= chunk_size:
        return run(module, function, hidden_states, *cut_alike, *shared)
    chunks = zip(*(tensor.split(chunk_size, dim=dim) for tensor in (hidden_states, *cut_alike)), strict=True)
    if torch.is_grad_enabled():
        return torch.cat([run(module, function, *chunk, *shared) for chunk in chunks], dim=dim)
    for chunk in chunks:
        chunk[0].copy_(function(*chunk, *shared))
    return hidden_states
