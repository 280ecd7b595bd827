# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What the tests of evaluation share: a fast model with the real tokenizer, and a data set in folders."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from catseg_hf import CatSegProcessor
from catseg_hf.datasets import Sample, SegmentationDataset, load_folder
from tests.tiny_models import tiny_config, tiny_model


NAMES = ["wall", "sky", ["tree", "shrub"], "traffic light", "dog"]
# Height and width of the images: upright, lying, small, square, and not divisible by anything.
SIZES = [(60, 80), (90, 50), (31, 37), (64, 64), (47, 101)]


def save_small_model(folder: Path, tokenizer_folder: Path, seed: int = 0) -> Path:
    """A folder for `from_pretrained`, with a model of random weights that takes a tenth of a second per image.

    Args:
        folder (`Path`): Where to write.
        tokenizer_folder (`Path`): A model folder whose tokenizer and image processor are taken.
        seed (`int`, *optional*, defaults to 0): Of the weights.
    """
    processor = CatSegProcessor.from_pretrained(tokenizer_folder)
    processor.image_processor.image_size = 64
    clip = tiny_config().clip_config.to_dict()
    ends = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 49407}
    clip["text_config"] |= {"vocab_size": 49408, "max_position_embeddings": 77, **ends}
    tiny_model(seed=seed, clip_config=clip).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def save_small_data_set(folder: Path) -> tuple[Path, Path, Path]:
    """Five noisy images of different sizes, their labels with ignored pixels, and a list of five classes.

    Returns:
        `tuple[Path, Path, Path]`: The folders of images and labels, and the list.
    """
    random = np.random.default_rng(0)
    images, labels, vocabulary = folder / "images", folder / "labels", folder / "classes.txt"
    images.mkdir(parents=True)
    labels.mkdir()
    vocabulary.write_text("".join(f"{name if isinstance(name, str) else ' | '.join(name)}\n" for name in NAMES))
    for number, (height, width) in enumerate(SIZES):
        small = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(images / f"{number}.png")
        ids = random.choice([0, 1, 2, 3, 255], (3, 3)).astype(np.uint8)
        Image.fromarray(ids).resize((width, height), Image.Resampling.NEAREST).save(labels / f"{number}.png")
    return images, labels, vocabulary


def small_data_set(folder: Path) -> SegmentationDataset:
    """What [`save_small_data_set`] wrote, loaded."""
    return load_folder(folder / "images", folder / "labels", folder / "classes.txt")


class Trap(SegmentationDataset):
    """Runs `spring` when a certain image is read."""

    def __init__(self, dataset: SegmentationDataset, index: int, spring: Callable[[], None]) -> None:
        self.__dict__.update(dataset.__dict__)
        self.index, self.spring = index, spring

    def __getitem__(self, index: int) -> Sample:
        if index == self.index:
            self.spring()
        return super().__getitem__(index)
