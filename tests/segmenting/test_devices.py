# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Where a model computes, and in which precision."""

import pytest
import torch
from torch import nn

from catseg_hf.segmenting.devices import compile_model, pick_device, pick_dtype


def test_auto_is_bfloat16_on_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert pick_dtype("auto", cpu) == torch.float32
    for has_it in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_it)  # noqa: B023
        assert pick_dtype("auto", gpu) == (torch.bfloat16 if has_it else torch.float32)
    for device in (cpu, gpu):
        assert pick_dtype("float32", device) == torch.float32
        assert pick_dtype("float16", device) == torch.float16


def test_a_device_that_is_not_there_is_named() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="There is no device 'abacus' here"):
        pick_device("abacus")


def test_compiled_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled model stays the object that it is, so that saving, `generate`-like helpers and hooks find it."""
    modes = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: modes.append(options))
    compile_model(nn.Linear(2, 2))
    assert modes == [{"mode": "default"}]
