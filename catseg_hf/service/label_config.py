# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What a project of Label Studio asks for: its labelling interface, and the extra parameters of its backend."""

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any
from xml.etree import ElementTree

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catseg_hf.formats.label_studio import TAGS, ResultTags
from catseg_hf.prompts_catseg import Label
from catseg_hf.service.errors import ServiceError


SHAPES = {tag: shapes for shapes, (tag, _) in TAGS.items()}
NOTHING = "The labelling interface has nothing to segment: give it PolygonLabels or BrushLabels, for an Image."
# What interfaces may be long.
MAX_LETTERS = 2**18


class ExtraParams(BaseModel):
    """What "extra params" of a backend may say, as JSON."""

    model_config = ConfigDict(extra="forbid")

    others: str | list[str | list[str]] | None = None
    threshold: Annotated[float | None, Field(ge=0, le=1)] = None
    min_area: Annotated[int, Field(ge=0)] = 0
    simplify: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    fill_holes: bool = False


@dataclass(frozen=True)
class LabelConfig:
    """A labelling interface, as far as segmentation is concerned."""

    labels: list[Label]  # each with its synonyms
    tags: ResultTags  # what results refer to
    shapes: str  # "polygons" or "rle"
    image_key: str  # under which the data of a task has the address of its image


def read_label_config(text: Any) -> LabelConfig:
    """Reads a labelling interface, of which the first `PolygonLabels` or `BrushLabels` that are for an image count."""
    if not isinstance(text, str) or len(text) > MAX_LETTERS or "<!DOCTYPE" in text:
        raise ServiceError(422, "The labelling interface is no XML, too long, or has a DOCTYPE.")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ServiceError(422, f"The labelling interface is no XML: {error}.") from error
    images = {tag.get("name"): tag for tag in root.iter("Image")}
    for control in root.iter():
        image = images.get(control.get("toName"))
        children = [child for child in control.iter("Label") if _words(child)]
        if control.tag in SHAPES and image is not None and children:
            break
    else:
        raise ServiceError(422, NOTHING)
    key = re.fullmatch(r"\$(\w+)", image.get("value", ""))
    if key is None:
        raise ServiceError(422, f"The Image {image.get('name')} has no value such as $image: give it one.")
    # Label Studio's own results have the alias, where there is one.
    names = [child.get("alias") or child.get("value", "") for child in children]
    if len(set(names)) < len(names):
        raise ServiceError(422, f"{control.tag} {control.get('name')} has a label twice: name each once.")
    tags = ResultTags(control.get("name", ""), control.get("toName", ""), names)
    labels = [words if len(words) > 1 else words[0] for words in map(_words, children)]
    return LabelConfig(labels, tags, SHAPES[control.tag], key[1])


def _words(label: ElementTree.Element) -> list[str]:
    words = [label.get("value", ""), *label.get("alias", "").split(",")]
    return list(dict.fromkeys(word.strip() for word in words if word.strip()))


def read_extra_params(content: Any) -> ExtraParams:
    """Reads the extra parameters of a backend: JSON, or what it holds."""
    try:
        fields = json.loads(content) if isinstance(content, str) and content.strip() else content or {}
        if not isinstance(fields, dict):
            raise ValueError("no object")
    except (ValueError, RecursionError) as error:
        raise ServiceError(422, 'The extra params are no JSON object such as {"threshold": 0.5}.') from error
    try:
        return ExtraParams(**fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = first["loc"][0] if first["loc"] else "object"
        known = ", ".join(ExtraParams.model_fields)
        raise ServiceError(422, f"Extra params, {name}: {first['msg']}. There are {known}.") from error
