# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What can be chosen about annotations."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from catseg_hf.option_groups import OptionGroup, option


@dataclass(frozen=True)
class AnnotationOptions(OptionGroup):
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
            `"polygons"`, or `"rle"` for run lengths: COCO's, Label Studio's brush, masks of CVAT and LabelMe.
        each (`str`, *optional*, defaults to `"part"`):
            What becomes an annotation: each connected `"part"` (pixels that share an edge), or each `"class"`.
        image_url (`str`, *optional*):
            For Label Studio: what the address of a photo starts with, before its path in its folder. By default photos
            are found by their paths on this machine, and those from the web by their URLs.

    Raises:
        ValueError: If a value is none of these.

    Example:

    ```python
    >>> from catseg_hf.formats import AnnotationOptions

    >>> options = AnnotationOptions(min_area=100, simplify=1.5)
    ```
    """

    panel: ClassVar[str] = "Annotations"

    min_area: int = option(0, min=0, help="Leave out parts, and fill holes, of fewer pixels than this.")
    simplify: float = option(0.0, min=0, help="Simplify outlines by up to about so many pixels; 0 is exact.")
    fill_holes: bool = option(False, help="Parts without their holes.")
    shapes: Literal["polygons", "rle"] = option(
        "polygons", help="Polygons, or run lengths (coco, label-studio's brush, masks of cvat and labelme)."
    )
    each: Literal["part", "class"] = option("part", help="One for each connected part, or for each class.")
    image_url: str | None = option(
        None,
        help="Of label-studio: what the addresses of photos start with, before their paths in the folder.",
        show_default="Label Studio's address of local files",
    )

    def __post_init__(self) -> None:
        for name in ("min_area", "simplify"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"`{name}` must be a number of pixels from 0, got {value}.")
        for name, allowed in (("shapes", ("polygons", "rle")), ("each", ("part", "class"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"`{name}` must be one of {', '.join(allowed)}, got {getattr(self, name)!r}.")
