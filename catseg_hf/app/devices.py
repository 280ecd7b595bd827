# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Where a model computes."""

import torch


def pick_device(name: str) -> torch.device:
    """The device of a name.

    Args:
        name (`str`): `"auto"` (an accelerator if there is one, otherwise the CPU), `"cpu"`, `"cuda"`, `"cuda:1"`,
            `"mps"`, ...

    Returns:
        `torch.device`.

    Raises:
        ValueError: If there is no such device here.
    """
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


__all__ = ["pick_device"]
