# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Processor and post-processing in other processes, forked after torch has used its threads, or spawned."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import catseg_hf
from catseg_hf import forking_catseg
from catseg_hf.forking_catseg import one_thread_if_forked


ROOT = Path(catseg_hf.__file__).parents[1]
SCRIPT = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
import numpy as np, torch
from datasets import Dataset
from PIL import Image
from torch.utils.data import DataLoader
from transformers.utils import logging
from catseg_hf import CatSegImageProcessor, CatSegProcessor

logging.set_verbosity_error()
tokenizer = CatSegProcessor.from_pretrained("catseg_hf/tiny").tokenizer
processor = CatSegProcessor(CatSegImageProcessor(), tokenizer)
outputs = {"logits": torch.randn(1, 5, 8, 96, 96, generator=torch.Generator().manual_seed(0))}
inputs = processor(images=Image.new("RGB", (640, 480)))
outputs |= {name: inputs[name] for name in ("view_boxes", "resized_sizes")}

def process(number):
    pixels = np.random.default_rng(number).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    views = processor(images=Image.fromarray(pixels), text=["cat", "grass"])["pixel_values"]
    label_map = processor.post_process_semantic_segmentation(outputs, target_sizes=[(480, 640)])[0]
    best, scores = processor.post_process_best_classes(outputs, [(480, 640)])[0]
    # With NumPy: torch would need its threads for these sums, too.
    return [tensor.numpy().sum(dtype=np.float64) for tensor in (views, label_map, best, scores)]

if __name__ == "__main__":
    torch.set_num_threads(2)
    product = torch.randn(700, 700) @ torch.randn(700, 700)  # starts the threads
    here = [process(number) for number in range(4)]
    rows = Dataset.from_dict({"number": range(4)})
    ways = {
        "datasets.map": rows.map(lambda row: {"values": process(row["number"])}, num_proc=2)["values"],
        "data loader": DataLoader(range(4), batch_size=None, num_workers=2, collate_fn=process),
        **{
            way: ProcessPoolExecutor(2, multiprocessing.get_context(way)).map(process, range(4))
            for way in ("fork", "spawn")
        },
    }
    for way, there in ways.items():
        # Sums by several threads may differ in the last digit of a float.
        np.testing.assert_allclose(list(there), here, rtol=1e-6, err_msg=way)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_processor_and_post_processing_in_other_processes(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path), "PATH": ""}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


def test_one_thread_only_in_a_forked_child(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with one_thread_if_forked():
            assert torch.get_num_threads() == 2
        monkeypatch.setattr(forking_catseg, "IMPORTED_IN", -1)
        with one_thread_if_forked():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
