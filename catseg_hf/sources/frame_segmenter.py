# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Segments the frames of a video, with scores that may remember those before."""

import torch
from PIL import Image

from catseg_hf.segmenting import Segmentation, Segmenter
from catseg_hf.segmenting.batches import Named


class FrameSegmenter:
    """Segments frames one after the other.

    Args:
        segmenter ([`Segmenter`]): Model, labels and threshold.
        smooth (`float`, *optional*, defaults to 0):
            How much the class scores of the frames before count, from 0 to below 1: the scores of each view are the
            exponential average `smooth * before + (1 - smooth) * now`. 0.7 takes most of the flicker away, and lets a
            mask lag by two or three frames.

    Raises:
        ValueError: If `smooth` is not from 0 to below 1.
    """

    def __init__(self, segmenter: Segmenter, smooth: float = 0.0) -> None:
        if not 0 <= smooth < 1:
            raise ValueError(f"`smooth` must be from 0 to below 1, got {smooth}.")
        self.segmenter, self.smooth = segmenter, smooth
        self.use_sigmoid = segmenter.processor.image_processor.score_function == "sigmoid"
        self.average = None

    @torch.inference_mode()
    def __call__(self, picture: Image.Image, name: str) -> Segmentation:
        """Segments the next frame.

        Args:
            picture (`PIL.Image.Image`): The frame, RGB, all of one size.
            name (`str`): What it is called.

        Returns:
            [`Segmentation`]
        """
        prepared = self.segmenter.prepare([(Named(name), picture)])
        if not self.smooth:
            return self.segmenter.finish(prepared)[0]
        outputs = self.segmenter.run(prepared, keep_rows=True)  # of all frames the same classes
        outputs.logits = self._averaged(outputs.logits.float())
        return self.segmenter.segmentations(prepared, self.segmenter.decide(prepared, outputs))[0]

    def _averaged(self, logits: torch.Tensor) -> torch.Tensor:
        scores = logits.sigmoid() if self.use_sigmoid else logits
        before = scores if self.average is None else self.average
        self.average = torch.lerp(scores, before, self.smooth)
        # Back to logits, which post-processing takes; a score of one would be infinite.
        return self.average.clamp(max=1 - 2**-24).logit() if self.use_sigmoid else self.average


__all__ = ["FrameSegmenter"]
