# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Moves convert and restore tensors exactly."""

import pytest
import torch

from catseg_hf.conversion import ConversionError, Move, apply_moves, invert_moves
from catseg_hf.conversion.moves import FLAT, PATCH_MERGING, TRANSPOSED


def test_split_join_and_layouts_are_inverted_exactly() -> None:
    moves = [
        Move("qkv", "q", source_part=((0, 2),)),
        Move("qkv", "k", source_part=((2, 4),)),
        Move("left", "joined", target_part=(None, (0, 3))),
        Move("right", "joined", target_part=(None, (3, 5))),
        Move("projection", "weight", layout=TRANSPOSED),
        Move("token", "padding_token", layout=FLAT),
    ]
    sources = {
        "qkv": torch.randn(4, 3),
        "left": torch.randn(2, 3),
        "right": torch.randn(2, 2),
        "projection": torch.randn(3, 5),
        "token": torch.randn(1, 1, 6),
    }
    targets = apply_moves(moves, sources)
    assert {key: tuple(tensor.shape) for key, tensor in targets.items()} == {
        "q": (2, 3),
        "k": (2, 3),
        "joined": (2, 5),
        "weight": (5, 3),
        "padding_token": (6,),
    }
    assert torch.equal(targets["joined"], torch.cat([sources["left"], sources["right"]], dim=1))
    restored = invert_moves(moves, targets)
    assert restored.keys() == sources.keys()
    assert all(torch.equal(restored[key], sources[key]) for key in sources)


def test_what_is_only_renamed_is_not_copied() -> None:
    source = torch.randn(4, 3)
    moves = [Move("a", "b", source_part=((1, 3),))]
    assert apply_moves(moves, {"a": source})["b"].data_ptr() == source[1].data_ptr()


def test_patch_merging_reorders_unfolded_neighbours() -> None:
    # MMSegmentation unfolds channel by channel; Transformers concatenates [even, even], [odd, even], [even, odd], ...
    maps = torch.randn(1, 3, 2, 2)
    unfolded = torch.nn.functional.unfold(maps, kernel_size=2, stride=2)[0, :, 0]
    patches = maps[0].permute(1, 2, 0)
    merged = torch.cat([patches[row, column] for column in range(2) for row in range(2)])
    assert torch.equal(PATCH_MERGING.forward(unfolded), merged)
    assert torch.equal(PATCH_MERGING.inverse(merged), unfolded)


def test_parts_that_leave_a_gap_are_refused() -> None:
    moves = [Move("a", "c", target_part=((0, 2),)), Move("b", "c", target_part=((3, 5),))]
    with pytest.raises(ConversionError, match="do not fill"):
        apply_moves(moves, {"a": torch.ones(2), "b": torch.ones(2)})
