# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Which model is a released checkpoint, unchanged, and which figures its authors published for it."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.utils import cached_file

from .. import __version__


RELEASED_FILE = "released_checkpoint.json"
# `benchmarks`: the short names of published tables, by the names of data sets; `checkpoints`: source and figures;
# `quoted`: figures that were not measured with the checkpoint that they stand beside.
FIGURES: dict[str, Any] = json.loads((files("catseg_hf") / "conversion" / "published_figures.json").read_text("utf-8"))


@dataclass(frozen=True)
class ReleasedCheckpoint:
    """What the folder of a converted released checkpoint says of itself, in `released_checkpoint.json`.

    It names the weights, so copied to a folder with others, such as those of a fine-tuning, it says nothing.

    Args:
        name (`str`): As for [`load_original`].
        file_name (`str`): The authors' file.
        file_sha256 (`str`): SHA-256 of that file.
        weights_sha256 (`str`): [`weights_digest`] of the converted model.
        catseg_hf (`str`): Version of the package that converted it.
    """

    name: str
    file_name: str
    file_sha256: str
    weights_sha256: str
    catseg_hf: str


def describe_released(name: str, checkpoint: str | os.PathLike[str], model: nn.Module) -> ReleasedCheckpoint:
    """What a conversion knows of a released checkpoint.

    Args:
        name (`str`): As for [`load_original`].
        checkpoint (`str` or `os.PathLike`): The authors' file.
        model (`nn.Module`): The model with its weights.

    Returns:
        [`ReleasedCheckpoint`]
    """
    return ReleasedCheckpoint(name, Path(checkpoint).name, file_digest(checkpoint), weights_digest(model), __version__)


def save_released(released: ReleasedCheckpoint, folder: str | os.PathLike[str]) -> None:
    """Writes `released_checkpoint.json` into the folder of a model.

    Args:
        released ([`ReleasedCheckpoint`]): What it says.
        folder (`str` or `os.PathLike`): The folder.
    """
    Path(folder, RELEASED_FILE).write_text(json.dumps(asdict(released), indent=2) + "\n", encoding="utf-8")


def read_released(model: str | os.PathLike[str]) -> ReleasedCheckpoint | None:
    """What a model says of the released checkpoint that it is; whether that holds, its weights tell.

    Args:
        model (`str` or `os.PathLike`): Its folder, or its name on the Hub.

    Returns:
        [`ReleasedCheckpoint`], *optional*: `None` where it says nothing, or nothing that can be read.
    """
    try:
        return ReleasedCheckpoint(**json.loads(Path(cached_file(model, RELEASED_FILE)).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def published_figure(name: str, benchmark: str) -> float | None:
    """The mIoU that the authors published for a released checkpoint.

    Args:
        name (`str`): As for [`load_original`].
        benchmark (`str`): As for [`load_benchmark`].

    Returns:
        `float`, *optional*: In percent, over the classes in the ground truth, with the sliding window; `None` where
        there is none.
    """
    return FIGURES["checkpoints"].get(name, {"miou": {}})["miou"].get(benchmark)


def published_table(name: str) -> str | None:
    """The figures of a released checkpoint and where they come from.

    Args:
        name (`str`): As for [`load_original`].

    Returns:
        `str`, *optional*: Markdown; `None` where there are none.
    """
    if name in FIGURES["quoted"]:
        quoted = FIGURES["quoted"][name]
        values = ", ".join(f"{FIGURES['benchmarks'][key]} {value:.1f}" for key, value in quoted["miou"].items())
        return f"Quoted, not measured with this checkpoint: {values} ({quoted['source']})."
    if name not in FIGURES["checkpoints"]:
        return None
    entry = FIGURES["checkpoints"][name]
    titles = [FIGURES["benchmarks"][benchmark] for benchmark in entry["miou"]]
    figures = [f"{value:.1f}" for value in entry["miou"].values()]
    return (
        f"{FIGURES['metric']} ({entry['source']}):\n\n"
        f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}\n| {' | '.join(figures)} |"
    )


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file.

    Args:
        path (`str` or `os.PathLike`): The file.

    Returns:
        `str`: 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(2**24):
            digest.update(chunk)
    return digest.hexdigest()


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of all weights and buffers with their names.

    Args:
        model (`nn.Module`): The model.

    Returns:
        `str`: 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
