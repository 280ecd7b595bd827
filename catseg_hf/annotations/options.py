# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What can be chosen about annotations, and which format can hold what."""

import math
from dataclasses import dataclass
from typing import Literal


# Of each format, the combinations of `shapes` and `each` that it can hold: a polygon of YOLO, Label Studio or CVAT is a
# single ring.
FORMATS = {
    "coco": {("polygons", "part"), ("polygons", "class"), ("rle", "part"), ("rle", "class")},
    "yolo": {("polygons", "part")},
    "label-studio": {("polygons", "part"), ("rle", "part"), ("rle", "class")},
    "cvat": {("polygons", "part"), ("rle", "part"), ("rle", "class")},
    "geojson": {("polygons", "part"), ("polygons", "class")},
}


@dataclass(frozen=True)
class AnnotationOptions:
    """How annotations are made of a label map.

    Args:
        min_area (`int`, *optional*, defaults to 0):
            In pixels. Connected parts that are smaller are left out, and holes that are smaller are filled.
        simplify (`float`, *optional*, defaults to 0.0):
            In pixels: corners of outlines go where the triangle of a corner and its neighbours has an area of at most
            the square of this. Neighbouring parts keep one border, without gaps. With 0, outlines follow the edges of
            pixels.
        fill_holes (`bool`, *optional*, defaults to `False`):
            Whether parts lose their holes. What lies in a hole then comes later than what is around it.
        shapes (`str`, *optional*, defaults to `"polygons"`):
            `"polygons"`, or `"rle"` for run lengths: COCO's, Label Studio's brush, CVAT's masks.
        each (`str`, *optional*, defaults to `"part"`):
            What becomes an annotation: each connected `"part"` (pixels that share an edge), or each `"class"`.

    Raises:
        ValueError: If a value is none of these.
    """

    min_area: int = 0
    simplify: float = 0.0
    fill_holes: bool = False
    shapes: Literal["polygons", "rle"] = "polygons"
    each: Literal["part", "class"] = "part"

    def __post_init__(self) -> None:
        for name in ("min_area", "simplify"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"`{name}` must be a number of pixels from 0, got {value}.")
        for name, allowed in (("shapes", ("polygons", "rle")), ("each", ("part", "class"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"`{name}` must be one of {', '.join(allowed)}, got {getattr(self, name)!r}.")

    def check(self, kind: str) -> None:
        """Refuses what a format cannot hold.

        Args:
            kind (`str`): Key of [`FORMATS`].

        Raises:
            ValueError: If it cannot hold these shapes; says which it can.
        """
        if (self.shapes, self.each) not in FORMATS[kind]:
            possible = " or ".join(f"{shapes} of each {each}" for shapes, each in sorted(FORMATS[kind]))
            raise ValueError(f"The format {kind} holds {possible}, but no {self.shapes} of each {self.each}.")


__all__ = ["FORMATS", "AnnotationOptions"]
