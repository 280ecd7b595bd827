# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Segments the frames of a video, with scores that may remember those before."""

import torch
from PIL import Image

from catseg_hf.app.photo_segmenter import PhotoSegmenter
from catseg_hf.app.photos import Photo
from catseg_hf.app.segmentation import Segmentation
from catseg_hf.pictures import label_colors, overlay
from catseg_hf.pictures.text import with_legend


# More classes than this are not all named in the legend.
LEGEND_CLASSES = 60


class FrameSegmenter:
    """Segments frames one after the other.

    Args:
        segmenter ([`PhotoSegmenter`]): Model, labels and threshold.
        smooth (`float`, *optional*, defaults to 0):
            How much the class scores of the frames before count, from 0 to below 1: the scores of each view are the
            exponential average `smooth * before + (1 - smooth) * now`. 0.7 takes most of the flicker away, and lets a
            mask lag by two or three frames.

    Raises:
        ValueError: If `smooth` is not from 0 to below 1.
    """

    def __init__(self, segmenter: PhotoSegmenter, smooth: float = 0.0) -> None:
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
        prepared = self.segmenter.prepare([(Photo(name, {}), picture)])
        if not self.smooth:
            return self.segmenter(prepared)[0]
        outputs = self.segmenter.model(**prepared.inputs, text_embeds=self.segmenter.text_embeds)
        outputs.logits = self._averaged(outputs.logits.float())
        return self.segmenter.segmentations(prepared, self.segmenter.decide(prepared, outputs))[0]

    def _averaged(self, logits: torch.Tensor) -> torch.Tensor:
        scores = logits.sigmoid() if self.use_sigmoid else logits
        before = scores if self.average is None else self.average
        self.average = torch.lerp(scores, before, self.smooth)
        # Back to logits, which post-processing takes; a score of one would be infinite.
        return self.average.clamp(max=1 - 2**-24).logit() if self.use_sigmoid else self.average


class FramePainter:
    """Draws overlays of one size, with a legend of all classes that stays where it is.

    Args:
        labels (`Sequence[str | list[str]]`): The classes.
        background_id (`int`): Class id that is left uncoloured.
        size (`tuple[int, int]`): Width and height of the frames.
    """

    def __init__(self, labels: list[str | list[str]], background_id: int, size: tuple[int, int]) -> None:
        self.labels, self.background_id = labels, background_id
        entries = [
            (label if isinstance(label, str) else ", ".join(label), "", tuple(color))
            for label, color in zip(labels, label_colors(labels).tolist(), strict=True)
        ]
        if len(entries) > LEGEND_CLASSES:
            more = len(entries) - LEGEND_CLASSES + 1
            entries = [*entries[: LEGEND_CLASSES - 1], (f"and {more} more", "", (255, 255, 255))]
        sheet = with_legend(Image.new("RGB", size, "white"), entries, None)
        # H.264 takes even sizes only.
        self.canvas = Image.new("RGB", (sheet.width + sheet.width % 2, sheet.height + sheet.height % 2), "white")
        self.canvas.paste(sheet)
        self.place = (sheet.width - size[0]) // 2, 0

    def __call__(self, picture: Image.Image, result: Segmentation) -> Image.Image:
        """Draws a segmentation over a frame.

        Args:
            picture (`PIL.Image.Image`): The frame.
            result ([`Segmentation`]): Of it, or of one shortly before.

        Returns:
            `PIL.Image.Image`: The frame with colours and legend, RGB, of even width and height.
        """
        drawn = overlay(picture, result.class_ids, self.labels, legend=False, background_id=self.background_id)
        canvas = self.canvas.copy()
        canvas.paste(drawn, self.place)
        return canvas


__all__ = ["FramePainter", "FrameSegmenter"]
