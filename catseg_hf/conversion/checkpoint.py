# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Reads checkpoints of unknown origin: nothing in them is ever executed, and memory is mapped, not copied."""

import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from .errors import ConversionError


WRAPPER_KEYS = ("model", "state_dict")


class _Ignored:
    """Stands in for an object of the training loop (a log, a counter), which is dropped unread."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "_Ignored":
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


# Checkpoints of a running training hold these beside the weights. The restricted unpickler of `weights_only=True`
# accepts them under their names as instances of the empty class above, so that their code is neither needed nor run.
TRAINING_STATE_TYPES = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.ndarray",
    "numpy.dtype",
)


def _load_pickle(path: Path) -> Any:
    is_archive = zipfile.is_zipfile(path)
    if is_archive:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # which torch does not do
        if damaged is not None:
            raise ConversionError(
                f"{path} is damaged: the content of {damaged!r} in it does not match its checksum. Download it again."
            )
    stand_ins = [(_Ignored, name) for name in TRAINING_STATE_TYPES]
    with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickles of other programs, which get an error of their own
        # Files in the format before PyTorch 1.6 are no zip archives and cannot be mapped.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def _unwrap(content: Any, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    if not isinstance(content, Mapping):
        raise ConversionError(
            f"{path} holds {type(content).__name__}, not a dictionary of tensors: it is not a checkpoint of a model."
        )
    for key in WRAPPER_KEYS:
        if isinstance(content.get(key), Mapping):
            meta = content.get("meta")
            return dict(content[key]), dict(meta) if isinstance(meta, Mapping) else {}
    return dict(content), {}


def _check_tensors(tensors: dict[str, Any], path: Path) -> None:
    if not tensors:
        raise ConversionError(f"{path} holds no tensors: it is not a checkpoint of a model.")
    for key, tensor in tensors.items():
        if not isinstance(key, str) or not isinstance(tensor, torch.Tensor):
            raise ConversionError(
                f"{path} holds {type(tensor).__name__} under the key {key!r}, where only tensors can be: it is not a "
                "checkpoint of a model, or holds one under another key than 'model' or 'state_dict'."
            )
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise ConversionError(f"{path}: {key!r} is not an ordinary dense tensor.")
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    size = os.path.getsize(path)
    if claimed > size:
        raise ConversionError(
            f"{path}: its tensors claim {claimed} bytes, but the file has only {size}: it is no ordinary checkpoint."
        )


def read_checkpoint(path: str | os.PathLike) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Reads the tensors of a checkpoint file, mapped into memory.

    A `.safetensors` file is read with safetensors, every other file with `torch.load(weights_only=True)`. The state
    dict may be bare or under the key `"model"` (detectron2) or `"state_dict"` (MMEngine); a prefix `module.` on all
    keys is removed.

    Args:
        path (`str` or `os.PathLike`): The file.

    Returns:
        `tuple[dict[str, torch.Tensor], dict]`: Tensors by key, and the dictionary under the key `"meta"`, if any.

    Raises:
        ConversionError: If the file is missing, no checkpoint, damaged, or holds anything but tensors and plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise ConversionError(f"There is no file {path}: give the path of a checkpoint (.pth or .safetensors).")
    with path.open("rb") as file:
        start = file.read(512).lstrip()
    if not start:
        raise ConversionError(f"{path} is empty: download it again.")
    if start.startswith(b"<"):
        raise ConversionError(
            f"{path} is a web page, not a checkpoint: download the file itself, not the page about it."
        )
    if start.startswith(b"version https://git-lfs"):
        raise ConversionError(f"{path} is a Git LFS pointer, not the checkpoint itself: run `git lfs pull`.")
    meta: dict[str, Any] = {}
    try:
        if path.suffix == ".safetensors":
            tensors: dict[str, Any] = _read_safetensors(path)
        else:
            tensors, meta = _unwrap(_load_pickle(path), path)
    except ConversionError:
        raise
    except Exception as error:  # The parsers raise errors of many kinds on damaged files.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, pickle.UnpicklingError):
            is_object = "GLOBAL" in str(error) or "global" in str(error)
            reason = "it holds objects, which are never loaded" if is_object else "its content is no PyTorch file"
        raise ConversionError(
            f"{path} cannot be read as a checkpoint: {reason}. It is damaged, not completely downloaded, or not a "
            "checkpoint of a model."
        ) from error
    _check_tensors(tensors, path)
    if all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): tensor for key, tensor in tensors.items()}
    return tensors, meta
