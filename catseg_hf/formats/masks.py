# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Masks: a folder with a black and white PNG for each class in the photo, `<id>_<label>.png`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from .format import Format


if TYPE_CHECKING:
    from catseg_hf.segmenting.segmentation import Segmentation


class Masks(Format):
    """A mask for each class."""

    name = "masks"
    title = "Masks"
    help = "a folder with a mask for each class"
    ending = ".masks"
    default_output = "masks"
    contents = "masks"

    def write(self, result: "Segmentation", path: Path) -> None:
        """See [`Format.write`]; masks of an earlier run are replaced, a folder with anything else is refused."""
        if path.exists():
            earlier = list(path.iterdir())
            strange = next((each.name for each in earlier if not re.fullmatch(r"\d+_.*\.png", each.name)), None)
            if strange is not None:
                raise ValueError(f"{path} is for masks, but holds {strange!r}: name another --output.")
            for each in earlier:
                each.unlink()
            path.rmdir()
        super().write(result, path)

    def save(self, result: "Segmentation", path: Path) -> None:
        """See [`Format.save`]."""
        path.mkdir()
        for segment in result.segments():
            name = re.sub(r"[^\w \-]", "_", segment["label"])[:60].strip()
            result.mask(segment["id"]).save(path / f"{segment['id']}_{name}.png")
