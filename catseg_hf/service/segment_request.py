# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What the model is asked, and what is refused before it is: labels and photos that are too many or too large."""

import re
import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Protocol

from PIL import Image

from catseg_hf.formats import find_format
from catseg_hf.image_processing_catseg import Views
from catseg_hf.image_reading_catseg import open_picture
from catseg_hf.others_catseg import OWN
from catseg_hf.prompts_catseg import Label, parse_labels
from catseg_hf.segmenting import Segmentation
from catseg_hf.segmenting.only_named import others_by_default
from catseg_hf.service.errors import ServiceError
from catseg_hf.service.settings import ServiceSettings
from catseg_hf.vocabularies import available_vocabularies, load_vocabulary


@dataclass(frozen=True)
class SegmentRequest:
    """A request that passed all checks but those that need a model."""

    photo: bytes  # the file
    labels: list[Label] | None  # without them, the model's own
    threshold: float | None
    background: str | None
    format: str  # of the answer, by its name
    others: str | list[Label] | None = None  # as `others_by_default` returns them
    views: Views | None = None  # as `Segmenter` takes it

    @property
    def media_type(self) -> str | None:
        """Of the answer."""
        return find_format(self.format).media_type

    def answer(self, result: Segmentation, model: str) -> bytes:
        """The body of the answer, of a model that is called `model`."""
        return find_format(self.format).answer(result, model)


class Backend(Protocol):
    """What segments."""

    async def segment(self, request: SegmentRequest) -> tuple[bytes, int]:
        """The body of the answer, and how many photos went through the model together with this one."""

    async def describe(self) -> dict[str, Any]:
        """What the model is, as [`ServedModel.describe`] says it."""

    async def is_ready(self) -> bool:
        """Whether a model is there."""


def checked_others(others: Any, labels: list[Label] | None, settings: ServiceSettings) -> str | list[Label] | None:
    """The others of a request, for [`SegmentRequest`]; never a string that could be the path of a file."""
    others = others_by_default(labels, others)
    if others in (None, [], OWN):
        return others or None
    if others in available_vocabularies():
        others = load_vocabulary(others)
    return checked_labels(others, settings, "others")


def checked_labels(labels: Any, settings: ServiceSettings, argument: str = "labels") -> list[Label] | None:
    """The labels of a request, or what else `argument` calls them, of which there may be only so many."""
    if labels is None:
        return None
    names = re.split("[,;]", labels) if isinstance(labels, str) else _names_in(labels)
    for what, number, limit in (
        ("names", len(names), settings.max_names),
        ("letters", sum(map(len, names)), settings.max_letters),
    ):
        if number > limit:
            raise ServiceError(422, f"The {argument} have {number} {what}, and the most are {limit}: leave some out.")
    try:
        return parse_labels(labels, argument)
    except (TypeError, ValueError) as error:
        raise ServiceError(422, str(error)) from error


def _names_in(labels: list[Label]) -> list[str]:
    return [name for label in labels for name in ([label] if isinstance(label, str) else label)]


def check_photo(photo: bytes, settings: ServiceSettings) -> None:
    """Refuses what is no photo, or too large a one, by its first bytes."""
    if not photo:
        raise ServiceError(422, "`image` is empty: send the bytes of the file.")
    if len(photo) > settings.max_photo_bytes:
        raise ServiceError(413, f"The photo has more than {settings.max_photo_bytes:,} bytes: make it smaller.")
    too_large = ServiceError(413, f"The photo has more than {settings.max_photo_pixels:,} pixels: make it smaller.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with open_picture(BytesIO(photo)) as picture:
                if picture.width * picture.height > settings.max_photo_pixels:
                    raise too_large
    except Image.DecompressionBombError as error:
        raise too_large from error
    except ServiceError:
        raise
    except ImportError as error:
        raise ServiceError(415, "`image` is HEIC, which this service does not read: send JPEG or PNG.") from error
    except Exception as error:  # decoders raise errors of all kinds on damaged files
        raise ServiceError(415, "`image` is no picture, or of a format that is not known: send JPEG or PNG.") from error
