# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What callers send, as forms or as JSON, and what is refused of it before a model is asked."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from catseg_hf.formats import ANSWER_FORMATS
from catseg_hf.service.errors import ServiceError
from catseg_hf.service.segment_request import SegmentRequest, check_photo, checked_labels, checked_others
from catseg_hf.service.settings import ServiceSettings
from catseg_hf.service.web_photos import fetch_photo


# Of all that a request holds beside its photo.
MAX_OTHER_BYTES = 2**18
ADVICE = "make the photo smaller"
ANSWERS = tuple(format.name for format in ANSWER_FORMATS)
Classes = str | list[str | list[str]] | None
IMAGE_HELP = "The photo: JPEG, PNG, WebP, HEIC where the service reads it, or what else Pillow reads."


class SegmentOptions(BaseModel):
    """What a request says beside its photo."""

    model_config = ConfigDict(extra="forbid")
    labels: Classes = Field(
        None,
        description="Classes, separated by commas; or, if there is a semicolon, classes separated by semicolons "
        "and their synonyms by commas. In JSON also a list, in which a list is a class with synonyms. By default "
        "those that the model has itself.",
        examples=["cat, grass", "person, man, woman; road"],
    )
    others: Classes = Field(
        None,
        description="Classes that compete and are not in the answer: `own`, those that the model has itself; the "
        "name of a vocabulary, such as `coco_stuff_171`; labels, as for `labels`; or `none`. By default `own` with "
        "a single label, and `none` with several.",
        examples=["own", "road, sky"],
    )
    threshold: float | None = Field(None, ge=0, le=1, description="Least score that the best class of a pixel needs.")
    background: str | None = Field(
        None, description="A class for the pixels below the threshold, and of others; without it they have none."
    )
    views: Literal["one", "sliding"] | None = Field(
        None,
        description="`one`: the whole photo at once, several times as fast; `sliding`: windows over it, as in the "
        "paper. By default what the service was started with.",
    )
    format: Literal[ANSWERS] = Field(
        ANSWERS[0],
        description="JSON, or a PNG: a picture with a legend, or class ids (255, or 65535 in one of 16 bits, for "
        "no class), whose text chunk `labels` holds the names.",
    )


class SegmentForm(SegmentOptions):
    """A request as a form; for the documentation."""

    labels: Annotated[str | None, SegmentOptions.model_fields["labels"]] = None
    others: Annotated[str | None, SegmentOptions.model_fields["others"]] = None
    image: bytes = Field(description=IMAGE_HELP, json_schema_extra={"format": "binary"})


class SegmentJson(SegmentOptions):
    """A request as JSON."""

    image: str | None = Field(None, description=f"{IMAGE_HELP} In base64.")
    image_url: str | None = Field(
        None, description="Instead of `image`, if the service allows it: where it fetches the photo."
    )


async def read_request(request: Request, settings: ServiceSettings) -> SegmentRequest:
    """Reads a request, and no more of it than is allowed."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        photo, options = await _read_form(request, settings)
    elif kind == "application/json":
        photo, options = await _read_json(request, settings)
    else:
        raise ServiceError(415, f"The body is {kind or 'of no type'}: send multipart/form-data or application/json.")
    labels = checked_labels(options.labels, settings)
    others = checked_others(options.others, labels, settings)
    if options.background is not None and options.threshold is None and others is None:
        raise ServiceError(422, "`background` names the pixels below `threshold`, and of `others`: give one too.")
    check_photo(photo, settings)
    return SegmentRequest(photo, labels, options.threshold, options.background, options.format, others, options.views)


async def _read_form(request: Request, settings: ServiceSettings) -> tuple[bytes, SegmentOptions]:
    limit = settings.max_photo_bytes + MAX_OTHER_BYTES
    parser = MultiPartParser(request.headers, _limited(request, limit), max_files=1, max_fields=8)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeDecodeError) as error:
        raise ServiceError(400, f"The form cannot be read: {getattr(error, 'message', 'it is damaged')}") from error
    try:
        fields = dict(form.multi_items())
        if twice := [name for name in fields if len(form.getlist(name)) > 1]:
            raise ServiceError(422, f"`{twice[0]}` is given several times: give it once.")
        image = fields.pop("image", None)
        if not isinstance(image, UploadFile):
            raise ServiceError(422, "There is no photo: send its file as `image`.")
        if any(isinstance(value, UploadFile) for value in fields.values()):
            raise ServiceError(422, "Only `image` is a file: send everything else as text.")
        # An empty field of a form is one that was not filled in.
        options = _validated(SegmentOptions, {name: value for name, value in fields.items() if value != ""})
        return await image.read(), options
    finally:
        await form.close()


async def _read_json(request: Request, settings: ServiceSettings) -> tuple[bytes, SegmentOptions]:
    # Base64 has four letters for three bytes.
    limit = settings.max_photo_bytes * 4 // 3 + MAX_OTHER_BYTES
    fields = await read_object(request, limit, example=', such as {"image": ..., "labels": "cat, grass"}')
    options = _validated(SegmentJson, fields)
    if (options.image is None) == (options.image_url is None):
        either = "either `image` or `image_url`" if settings.allow_urls else "`image`"
        raise ServiceError(422, f"Give {either}.")
    if options.image_url is not None:
        if not settings.allow_urls:
            raise ServiceError(422, "This service fetches no photos (`image_url`): send the photo as `image`.")
        return await fetch_photo(options.image_url, settings.max_photo_bytes), options
    try:
        photo = base64.b64decode(options.image, validate=True)
    except ValueError as error:
        raise ServiceError(422, "`image` is no base64: encode the bytes of the file, without a prefix.") from error
    return photo, options


async def read_object(request: Request, limit: int, *, advice: str = ADVICE, example: str = "") -> dict[str, Any]:
    """The JSON object of a request, which has at most `limit` bytes; `advice` says what to do about more."""
    body = b"".join([part async for part in _limited(request, limit, advice)])
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ServiceError(400, "The body is no JSON, or damaged.") from error
    if not isinstance(fields, dict):
        raise ServiceError(422, f"The body must be a JSON object{example}.")
    return fields


async def _limited(request: Request, limit: int, advice: str = ADVICE) -> AsyncIterator[bytes]:
    """The parts of a body; beyond the limit nothing is read, or nothing at all where the header says so."""
    error = ServiceError(413, f"The request has more than {limit:,} bytes: {advice}.")
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limit:
        raise error
    total = 0
    async for part in request.stream():
        total += len(part)
        if total > limit:
            raise error
        yield part


def _validated(kind: type[SegmentOptions], fields: dict[str, Any]) -> Any:
    try:
        return kind(**fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = first["loc"][0] if first["loc"] else "body"
        if first["type"] == "extra_forbidden":
            known = ", ".join(dict.fromkeys(["image", *kind.model_fields]))
            raise ServiceError(422, f"`{name}` is not known: there are {known}.") from error
        raise ServiceError(422, f"`{name}`: {first['msg']}, got {str(first['input'])[:100]!r}.") from error
