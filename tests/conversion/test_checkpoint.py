# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints are read in all their wrappings, and nothing in them is executed."""

import os
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from catseg_hf.conversion import ConversionError
from catseg_hf.conversion.checkpoint import read_checkpoint


TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.tensor(7)}


def same(tensors: dict[str, torch.Tensor]) -> bool:
    return tensors.keys() == TENSORS.keys() and all(torch.equal(tensors[key], TENSORS[key]) for key in TENSORS)


@pytest.mark.parametrize(
    "content",
    [
        TENSORS,
        {"model": TENSORS, "iteration": 80000, "optimizer": {"state": {}}},
        {"state_dict": TENSORS, "meta": {"epoch": 1}},
        {"model": {f"module.{key}": tensor for key, tensor in TENSORS.items()}},
    ],
    ids=["bare", "model", "state_dict", "module"],
)
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
def test_wrappings(content: dict[str, Any], is_zip: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    tensors, meta = read_checkpoint(path)
    assert same(tensors)
    assert meta == content.get("meta", {})


def test_safetensors(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "model.safetensors")
    assert same(read_checkpoint(tmp_path / "model.safetensors")[0])


def test_training_state_is_ignored_without_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # MMEngine keeps its logs, with NumPy arrays inside, beside the weights.
    module = types.ModuleType("mmengine.logging.history_buffer")

    class HistoryBuffer:
        def __init__(self) -> None:
            self._log_history = np.arange(3.0)
            self._last = np.float64(1.5)

    HistoryBuffer.__module__, HistoryBuffer.__qualname__ = module.__name__, "HistoryBuffer"
    module.HistoryBuffer = HistoryBuffer
    for name in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    path = tmp_path / "epoch_1.pth"
    torch.save({"state_dict": TENSORS, "message_hub": {"log_scalars": {"loss": HistoryBuffer()}}}, path)
    monkeypatch.undo()
    assert "mmengine" not in sys.modules
    assert same(read_checkpoint(path)[0])
    assert "mmengine" not in sys.modules


class Payload:
    """Runs a command when it is unpickled without care."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", ["model.pth", "model.pt", "model.bin"])
def test_a_payload_leaves_no_trace(is_zip: bool, name: str, tmp_path: Path) -> None:
    path, trace = tmp_path / name, tmp_path / "trace"
    torch.save({"model": TENSORS, "extra": Payload(trace)}, path, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(ConversionError, match="objects, which are never loaded"):
        read_checkpoint(path)
    assert not trace.exists()
    # The test would see a payload that runs.
    torch.load(path, weights_only=False)
    assert trace.exists()


def test_a_plain_pickle_with_a_payload_leaves_no_trace(tmp_path: Path) -> None:
    path, trace = tmp_path / "model.pth", tmp_path / "trace"
    path.write_bytes(pickle.dumps(Payload(trace)))
    with pytest.raises(ConversionError):
        read_checkpoint(path)
    assert not trace.exists()


def test_a_payload_under_the_name_of_ignored_state_leaves_no_trace(tmp_path: Path) -> None:
    # What is ignored by name is built from an empty class, whatever arguments come with it.
    path, trace = tmp_path / "model.pth", tmp_path / "trace"
    torch.save({"model": TENSORS, "log": np.array([Payload(trace)], dtype=object)}, path)
    with pytest.raises(ConversionError):
        read_checkpoint(path)
    assert not trace.exists()


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_truncated_files(part: float, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    tensors = {"a": torch.randn(100, 100)}
    save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ConversionError):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n<!DOCTYPE html><html><body>Not found</body></html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"", "empty"),
        (b'{"path": "index"}', "cannot be read"),
        (np.random.default_rng(0).bytes(1000), "cannot be read"),
        (b"PK\x03\x04" + bytes(100), "cannot be read"),
    ],
    ids=["html", "lfs", "empty", "json", "random", "zip"],
)
@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_other_files(content: bytes, message: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConversionError, match=message):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        torch.ones(3),
        {"model": {"a": "text"}},
        {"model": {}},
        {},
        {"epoch": 3},
        {"a": torch.ones(3).to_sparse()},
    ],
)
def test_files_without_a_state_dict(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(ConversionError):
        read_checkpoint(tmp_path / "model.pth")


def test_tensors_larger_than_the_file_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(100_000, 100_000)}, tmp_path / "model.pth")
    with pytest.raises(ConversionError, match="claim"):
        read_checkpoint(tmp_path / "model.pth")


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(ConversionError, match="There is no file"):
            read_checkpoint(path)


def test_a_zip_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ConversionError, match="cannot be read"):
        read_checkpoint(tmp_path / "model.pth")


def test_a_flipped_bit_anywhere_in_the_content_of_an_archive_is_found(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save({"model": {"weight": torch.randn(64, 64, generator=torch.Generator().manual_seed(0))}}, path)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        (member,) = (each for each in archive.infolist() if each.filename.endswith("/data/0"))
    # The content lies behind its header, padded, and before the next one.
    for offset in range(member.header_offset + 256, member.header_offset + member.file_size, 1000):
        damaged = bytearray(content)
        damaged[offset] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ConversionError, match="does not match its checksum"):
            read_checkpoint(path)
    path.write_bytes(content)
    assert read_checkpoint(path)[0]["weight"].shape == (64, 64)
