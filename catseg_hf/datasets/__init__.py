# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Data sets of images with a class id for every pixel, read from their files as distributed."""

from .benchmarks import load_benchmark
from .custom import from_hub_dataset, load_folder
from .segmentation import Sample, SegmentationDataset


__all__ = [
    "Sample",
    "SegmentationDataset",
    "from_hub_dataset",
    "load_benchmark",
    "load_folder",
]
