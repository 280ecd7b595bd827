# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Pictures of a segmentation: overlays with a legend, outlines, side by side, heat maps; and the colours of classes."""

from .colors import class_colors, label_colors, perceived_colors
from .heat_maps import heat_map, heat_maps
from .overlays import contours, overlay, side_by_side


__all__ = [
    "class_colors",
    "contours",
    "heat_map",
    "heat_maps",
    "label_colors",
    "overlay",
    "perceived_colors",
    "side_by_side",
]
