# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Evaluates a model on a benchmark, step by step: copy it and change what you like.

    python examples/evaluate.py MODEL DATA_ROOT OUTPUT
    torchrun --nproc-per-node 4 examples/evaluate.py path/to/model path/to/data results/ade20k_150

The last line of output says where the report is. If it is interrupted, the same command goes on where it was.
"""

import sys

import torch
from accelerate import PartialState

from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor
from catseg_hf.datasets import load_benchmark
from catseg_hf.evaluation import Protocol, ProtocolSegmenter, evaluate, results_table, write_report


model_path, data_root, output = sys.argv[1:]
# Or pascal_voc_20, pascal_context_59, ... For data of your own: load_folder or from_hub_dataset.
dataset = load_benchmark("ade20k_150", data_root)
# Or "mmseg_slide", "whole". With test-time augmentation: Protocol(scales=AUGMENTATION_SCALES, flip=True).
protocol = Protocol("sliding_window")

# One process, or those that torchrun started: on a GPU each, or on the CPU.
processes = PartialState(cpu=not torch.cuda.is_available())
processor = CatSegProcessor.from_pretrained(model_path)
model = CatSegForSemanticSegmentation.from_pretrained(model_path).to(processes.device).eval()

evaluation = evaluate(model, processor, dataset, protocol, output=output, seen="coco_stuff_171")

if processes.is_main_process:
    write_report(evaluation, output, dataset, ProtocolSegmenter(model, processor, dataset.vocabulary, protocol))
    print(results_table(evaluation.results))
    print(f"Wrote {output}/report.md")
processes.destroy_process_group()
