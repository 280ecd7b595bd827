# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What can be chosen about large images, videos and clusters."""

from dataclasses import dataclass
from typing import Any, ClassVar

from catseg_hf.option_groups import OptionGroup, option


@dataclass(frozen=True)
class WindowOptions(OptionGroup):
    """How windows go over a large image."""

    panel: ClassVar[str] = "Large images"

    tile: int | None = option(
        None,
        min=16,
        help="Side of the windows, in pixels of the image.",
        show_default="what the model sees pixel by pixel: 640 for the published checkpoints",
    )
    scale: float | None = option(None, help="Instead of --tile: 0.5 shows the model the image at half its size.")
    overlap: float = option(0.25, min=0, max=0.9, help="Least share that windows overlap.")
    bands: str | None = option(None, help="Of a TIFF: the numbers of its red, green and blue band, such as 3,2,1.")
    value_range: str | None = option(
        None, help="Of a TIFF that has not 8 bits: which values are black and white, as 0,3000."
    )

    def __post_init__(self) -> None:
        _ = self.of_rasters  # refuses what are no numbers

    @property
    def of_rasters(self) -> dict[str, Any]:
        """`bands` and `value_range` as numbers, as [`RasterSource`] takes them."""
        return {
            "bands": _numbers(self.bands, "bands", int, (1, 3), "one or three numbers, such as 3,2,1"),
            "value_range": _numbers(self.value_range, "value-range", float, (2,), "two numbers, such as 0,3000"),
        }


def _numbers(given: Any, name: str, kind: type, counts: tuple[int, ...], wanted: str) -> tuple[Any, ...] | None:
    if given is None:
        return None
    try:
        values = tuple(kind(part) for part in (given.split(",") if isinstance(given, str) else given))
    except (TypeError, ValueError):
        values = ()
    if len(values) not in counts:
        raise ValueError(f"--{name} {given} must be {wanted}.")
    return values


@dataclass(frozen=True)
class VideoOptions(OptionGroup):
    """How videos are segmented."""

    panel: ClassVar[str] = "Videos"

    every: int = option(1, min=1, help="Segment every n-th frame; those between keep its classes.")
    smooth: float = option(
        0.0, min=0, max=0.99, help="How much the scores of the frames before count, against flicker; try 0.7."
    )


@dataclass(frozen=True)
class ClusterOptions(OptionGroup):
    """Where a fleet works, and what it finds."""

    panel: ClassVar[str] = "Cluster"

    address: str | None = option(
        None, help="A Ray cluster: auto, host:6379 or ray://host:10001.", show_default="a Ray of this machine"
    )
    image_column: str = option("image", help="Of Parquet files: the column with the photos' bytes.")
