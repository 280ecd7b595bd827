# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Damaged and changed checkpoints in the conversion: refused by name, or converted to the same weights."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from catseg_hf.conversion import ConversionOptions, convert_checkpoint
from catseg_hf.conversion.checkpoint import read_checkpoint
from tests.robustness.outcomes import Attempts


pytestmark = pytest.mark.slow


Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def tensors(tiny_checkpoint: Path) -> Tensors:
    return read_checkpoint(tiny_checkpoint)[0]


def write(tensors: object, path: Path) -> None:
    save_file(tensors, path) if path.suffix == ".safetensors" else torch.save({"model": tensors}, path)


def read(path: Path) -> Tensors:
    return read_checkpoint(path)[0]


def is_equal(found: Tensors, expected: Tensors) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_truncated_and_grown_files(attempts: Attempts, dice: random.Random, tensors: Tensors, tmp_path: Path) -> None:
    """Files that are cut off or have bytes more, `.pth` and `.safetensors`"""
    few = dict(list(tensors.items())[:20])
    for path in (tmp_path / "model.pth", tmp_path / "model.safetensors"):
        write(few, path)
        content = path.read_bytes()
        for _ in range(30):
            end = dice.randrange(len(content))
            path.write_bytes(content[:end])
            attempts.attempt(
                f"{path.name} up to {end}", lambda path=path: read_checkpoint(path)[0], lambda _: False, [path]
            )
            more = dice.randbytes(dice.randint(1, 100))
            path.write_bytes(content + more)
            attempts.attempt(
                f"{path.name} and {more!r}",
                lambda path=path: read_checkpoint(path)[0],
                lambda found: is_equal(found, few),
                [path],
            )


def test_flipped_bits(attempts: Attempts, dice: random.Random, tensors: Tensors, tmp_path: Path) -> None:
    """`.pth` files with random bits flipped, some in the middle, some in the directory at the end"""
    few = dict(list(tensors.items())[:20])
    path = tmp_path / "model.pth"
    write(few, path)
    content = path.read_bytes()
    for number in range(150):
        place = dice.randrange(8 * len(content)) if number % 2 else 8 * len(content) - dice.randint(1, 8 * 2500)
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        attempts.attempt(
            f"bit {place}", lambda path=path: read_checkpoint(path)[0], lambda found: is_equal(found, few), [path]
        )


CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "a dimension more": lambda tensor: tensor[None],
    "a dimension less": lambda tensor: tensor.flatten() if tensor.dim() > 1 else tensor.sum(),
    "a row less": lambda tensor: tensor[:-1].clone() if tensor.dim() else tensor[None][:0],
    "no rows": lambda tensor: tensor[:0].clone() if tensor.dim() else tensor[None][:0],
    "integers": lambda tensor: tensor.to(torch.int32),
    "complex numbers": lambda tensor: tensor.to(torch.complex64),
    "booleans": lambda tensor: tensor.to(torch.bool),
    "nan": lambda tensor: torch.full_like(tensor, torch.nan),
    "infinity": lambda tensor: torch.full_like(tensor, -torch.inf),
}


def test_changed_tensors(attempts: Attempts, dice: random.Random, tensors: Tensors, tmp_path: Path) -> None:
    """Single tensors with other shapes, types, values or names, or left out, through the whole conversion"""
    floats = [name for name, tensor in tensors.items() if tensor.is_floating_point() and "attn_mask" not in name]

    def convert(changed: Tensors) -> object:
        torch.save({"model": changed}, tmp_path / "model.pth")
        return convert_checkpoint(
            tmp_path / "model.pth", tmp_path / "folder", options=ConversionOptions(image_size=96), vocabulary=False
        )

    for name in dice.sample(floats, 3):
        cases = {kind: {**tensors, name: change(tensors[name])} for kind, change in CHANGES.items()}
        without = {key: tensor for key, tensor in tensors.items() if key != name}
        cases |= {"left out": without, "renamed": {**without, f"{name}x": tensors[name]}}
        for kind, changed in cases.items():
            attempts.attempt(
                f"{name}: {kind}", lambda changed=changed: convert(changed), lambda _: False, name.split(".")
            )
