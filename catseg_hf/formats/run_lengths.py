# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""COCO's compressed run lengths of masks (format: `rleToString` in cocoapi's `maskApi.c`)."""

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    import numpy as np


def encode_rle(mask: "np.ndarray") -> str:
    """A mask as COCO's compressed run lengths.

    Args:
        mask (`np.ndarray` of shape `(height, width)`): True or False for each pixel.

    Returns:
        `str`: ASCII; column by column the lengths of runs, first of False, each from the third on as its difference to
        the one before the last, in groups of five bits.
    """
    import numpy as np

    pixels = np.asarray(mask, dtype=bool).ravel(order="F")
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs = np.diff([0, *([0] if pixels[:1].any() else []), *changes, pixels.size])
    runs[3:] -= runs[1:-2].copy()
    text = bytearray()
    for number in runs.tolist():
        more = True
        while more:
            bits, number = number & 31, number >> 5
            # The highest of the five bits is the sign of all that follows.
            more = number != (-1 if bits & 16 else 0)
            text.append(48 + bits + (32 if more else 0))
    return text.decode("ascii")


__all__ = ["encode_rle"]
