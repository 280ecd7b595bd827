# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Where a model computes, in which precision, and how."""

import torch
from torch import nn


def pick_device(name: str) -> torch.device:
    """The device of a name such as `"cuda:1"`; `"auto"` is an accelerator if there is one, otherwise the CPU."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        known = ", ".join(["cpu", *([accelerator.type] if accelerator else [])])
        raise ValueError(f"There is no device {name!r} here: use auto or one of {known}.") from error
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The type of a model's weights: `"float32"`, `"bfloat16"`, `"float16"` or `"auto"`.

    That is bfloat16 on a GPU that computes with it, which is several times as fast there, and float32 elsewhere.
    """
    if name != "auto":
        return getattr(torch, name)
    has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bfloat16 else torch.float32


def compile_model(model: nn.Module) -> None:
    """Compiles a model, in evaluation mode and on its device, for many calls with inputs of one size.

    The first call then takes minutes. On a GPU all its work is recorded and started as one (a CUDA graph).
    """
    is_cuda = next(model.parameters()).device.type == "cuda"
    model.compile(mode="reduce-overhead" if is_cuda else "default")
