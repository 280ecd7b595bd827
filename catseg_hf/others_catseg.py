# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Others: classes that compete with the labels and are not reported, so that a label does not take the whole image.

How a call goes: [`resolve_others`] makes a list of classes of what was asked for, [`with_others`] leaves out those that
mean the same as a label and joins the text embeddings, [`segment_with_others`] runs the model with the few of them that
are similar to some place of an image, and post-processing, told `num_labels`, gives their pixels no class.
"""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from transformers.modeling_outputs import SemanticSegmenterOutput
from transformers.utils import logging

from .aggregation_catseg import TRUNCATED_CLASS_LOGIT, compute_cost_volume
from .chunking_catseg import joined, views_at_a_time
from .configuration_catseg import CatSegConfig
from .layers_catseg import normalize
from .prompts_catseg import Label, Labels, parse_labels
from .same_names_catseg import SameNames


logger = logging.get_logger(__name__)

OWN = "own"
# What a model without classes of its own takes in their place.
DEFAULT_VOCABULARY = "coco_stuff_171"
# How many others compete in an image: the fewest whose IoU is within half a point of that with all, measured.
NUM_OTHERS = 8


class Others(NamedTuple):
    """Classes that compete and are not reported, before those that mean the same as a label are left out.

    Args:
        labels (`list[str | list[str]]`): The classes; empty where there are no others.
        written (`bool`): Whether they were listed one by one: then kinds of a label stay, since they were meant.
    """

    labels: list[Label]
    written: bool


@dataclass(frozen=True)
class LabelsWithOthers:
    """Labels, and behind them the others that compete with them.

    Args:
        text_embeds (`torch.FloatTensor` of shape `(T, P, D)` or `(T, P, S, D)`): Of the labels, then of the others.
        num_labels (`int`): How many rows of these are labels; for post-processing.
        others (`list[str | list[str]]`): The classes of the further rows.
        left_out (`dict[str, str]`): Others that do not compete, and the label of each that means the same.
    """

    text_embeds: torch.Tensor
    num_labels: int
    others: list[Label]
    left_out: dict[str, str]


def resolve_others(others: Labels | os.PathLike[str] | None, config: CatSegConfig) -> Others:
    """The classes that `others` stands for.

    Args:
        others (`str`, `os.PathLike` or `Iterable[str | Iterable[str]]`, *optional*):
            `None` or an empty list for none; `"own"` for the model's own vocabulary, or `coco_stuff_171` where it has
            none; the name of a shipped vocabulary, or a text file with one class a line, as
            [`~catseg_hf.load_vocabulary`] takes them; or labels, as [`parse_labels`] takes them: a list, or a string
            with a comma or semicolon in it.
        config ([`CatSegConfig`]): The model's.

    Returns:
        [`Others`]

    Raises:
        ValueError: If there is no such vocabulary or file, or a label cannot be used.
        TypeError: If `others` is neither a string, a path nor a list of labels.
        ImportError: If a vocabulary or a file is asked for without the package `catseg_hf`, as remote code.
    """
    if others is None or (isinstance(others, Sequence) and len(others) == 0 and not isinstance(others, str)):
        return Others([], written=True)
    if isinstance(others, str) and others == OWN:
        if config.vocabulary_digest is not None:
            return Others(own_labels(config), written=False)
        others = DEFAULT_VOCABULARY
    is_path = isinstance(others, os.PathLike)
    if isinstance(others, str) and not os.path.isfile(others) and ("," in others or ";" in others):
        return Others(parse_labels(others, "others"), written=True)
    if is_path or isinstance(others, str):
        try:
            from catseg_hf.vocabularies import load_vocabulary
        except ImportError as error:
            raise ImportError(
                f"`others={others!r}` is a vocabulary or a file, which the package reads: `pip install catseg-hf`, or "
                'give a list of labels, or "own" for a model with classes of its own.'
            ) from error
        return Others(parse_labels(load_vocabulary(others), "others"), written=False)
    return Others(parse_labels(others, "others"), written=True)


def own_labels(config: CatSegConfig) -> list[Label]:
    """The classes of a model's own vocabulary.

    Args:
        config ([`CatSegConfig`]): Of a model with a vocabulary.

    Returns:
        `list[str | list[str]]`: One entry for each class, a list where it has several names.
    """
    labels: list[Label] = []
    counts = config.vocabulary_synonym_counts or [1] * len(config.id2label)
    for name, count in zip(config.id2label.values(), counts, strict=True):
        names = name.split(", ")  # as `set_vocabulary` joined them; a name can have a comma itself
        labels.append(names if count > 1 and len(names) == count else name)
    return labels


def with_others(
    labels: Sequence[Label], label_embeds: torch.Tensor, others: Others, other_embeds: torch.Tensor | None
) -> LabelsWithOthers:
    """Joins labels and others, without the others that mean the same as a label.

    Left out is what has the same name (see [`SameNames`]), and of vocabularies also kinds of a label ("dining table" of
    "table"), and what the text embeddings hold for the same, whatever its name: an other whose angle to a label is less
    than half of the smallest between two others, which are told apart. So it lies nearer to the label than to others.

    What a label is a kind of stays: beside "red circle", "circle" takes the circles that are not red, and measured on
    drawn scenes it takes no red ones.

    Args:
        labels (`Sequence[str | list[str]]`): The labels, as [`parse_labels`] returns them.
        label_embeds (`torch.FloatTensor` of shape `(T, P, D)` or `(T, P, S, D)`): Their text embeddings.
        others ([`Others`]): The others.
        other_embeds (`torch.FloatTensor`, *optional*): Their text embeddings; needed where there are others.

    Returns:
        [`LabelsWithOthers`]
    """
    names = SameNames(labels, _shipped_vocabularies() if others.labels else ())
    found = [names.label_of(other, kinds_too=not others.written) for other in others.labels]
    kept = [index for index, label in enumerate(found) if label is None]
    if len(kept) > 1 and not others.written:
        for index, nearest in zip(list(kept), _same_meaning(label_embeds, other_embeds[kept]), strict=True):
            if nearest is not None:
                found[index] = labels[nearest]
                kept.remove(index)
    text_embeds = _joined_rows(label_embeds, other_embeds[kept]) if kept else label_embeds
    left_out = {
        _name(other): _name(label) for other, label in zip(others.labels, found, strict=True) if label is not None
    }
    return LabelsWithOthers(text_embeds, len(labels), [others.labels[index] for index in kept], left_out)


def tell_of_others(classes: LabelsWithOthers, threshold: float | None = None) -> None:
    """Logs, once for the same classes, which others of another name were left out, and that a label alone takes all.

    Args:
        classes ([`LabelsWithOthers`]): Labels and others.
        threshold (`float`, *optional*): The least score of a label, which also leaves pixels without a class.
    """
    renamed = {other: label for other, label in classes.left_out.items() if other.lower() != label.lower()}
    if renamed:
        shown = ", ".join(f"{other!r} ({label})" for other, label in renamed.items())
        logger.warning_once(f"Left out of the others, as they mean the same as a label: {shown}.")
    if classes.num_labels == 1 and not classes.others and threshold is None:
        logger.warning_once(
            'With a single label, every pixel gets it. To find only what it names, give `others="own"`, classes that '
            "compete and are not reported; or further labels, or a `threshold`."
        )


def _shipped_vocabularies() -> Iterable[list[Label]]:
    try:
        from catseg_hf.vocabularies import available_vocabularies, load_vocabulary
    except ImportError:  # remote code, on a machine without the package: names are compared without synonyms
        return []
    return map(load_vocabulary, available_vocabularies())


def _same_meaning(label_embeds: torch.Tensor, other_embeds: torch.Tensor) -> list[int | None]:
    """For each other the number of the label that its text embedding is the same as, or `None`."""
    labels, others = _directions(label_embeds), _directions(other_embeds)
    apart = (others @ others.T).fill_diagonal_(-1).amax()
    similarity, nearest = (others @ labels.T).max(dim=1)
    is_same = similarity > ((1 + apart) / 2).sqrt()  # the cosine of half the angle
    return [label if same else None for label, same in zip(nearest.tolist(), is_same.tolist(), strict=True)]


def _directions(text_embeds: torch.Tensor) -> torch.Tensor:
    # (T, P, D) or (T, P, S, D) -> T, D: the mean over templates and synonyms, of length 1
    return F.normalize(normalize(text_embeds).float().flatten(1, -2).sum(dim=1), dim=-1)


def _joined_rows(labels: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    if labels.dim() != others.dim() or labels.shape[2:] != others.shape[2:]:
        # With `config.synonyms="max"`: all-zero rows stand for absent synonyms.
        labels, others = (each if each.dim() == 4 else each[:, :, None] for each in (labels, others))
        count = max(labels.shape[2], others.shape[2])
        labels, others = (F.pad(each, (0, 0, 0, count - each.shape[2])) for each in (labels, others))
    return torch.cat([labels, others])


def _name(label: Label) -> str:
    return label if isinstance(label, str) else ", ".join(label)


def segment_with_others(
    model: Any,
    text_embeds: torch.Tensor,
    num_labels: int,
    num_others: int | None = NUM_OTHERS,
    *,
    keep_rows: bool = False,
    image_embeds: Sequence[torch.Tensor] | None = None,
    view_boxes: torch.Tensor | None = None,
    resized_sizes: torch.Tensor | None = None,
    **pixels: torch.Tensor,
) -> SemanticSegmenterOutput:
    """Runs a model with the labels, and in each image with those others that are most similar to some place of it.

    The image goes through CLIP once. Which others compete is decided for each image by itself, without a question to
    the device.

    Args:
        model ([`CatSegForSemanticSegmentation`]): The model.
        text_embeds (`torch.FloatTensor` of shape `(T, P, D)` or `(T, P, S, D)`): Of labels and others, labels first.
        num_labels (`int`): How many of them are labels.
        num_others (`int`, *optional*, defaults to 8):
            How many others compete in an image. `None`: all of them, the plain decision over labels and others.
        keep_rows (`bool`, *optional*, defaults to `False`):
            Whether the logits are of all classes, -100 of the others that did not compete, so that images can be
            compared class by class. Otherwise they are of the labels, and of the others that competed in each image.
        image_embeds (`Sequence[torch.Tensor]`, *optional*): Instead of `pixel_values`, as for the model.
        view_boxes, resized_sizes (`torch.LongTensor`, *optional*): Of the processor, as for the model.
        pixels: `pixel_values`, and `backbone_pixel_values` where the model has a backbone.

    Returns:
        [`CatSegSemanticSegmenterOutput`]: With logits of `num_labels + num_others` classes. For post-processing with
        `num_labels`.

    Raises:
        ValueError: If the inputs do not fit the model or each other.
    """
    geometry = {"view_boxes": view_boxes, "resized_sizes": resized_sizes}
    if num_others is None or len(text_embeds) - num_labels <= num_others:
        images = pixels if image_embeds is None else {"image_embeds": tuple(image_embeds)}
        return model(**images, text_embeds=text_embeds, **geometry)
    text_embeds = model.resolve_text_embeds(text_embeds=text_embeds)
    encoded = [tuple(image_embeds)] if image_embeds is not None else _encoded(model, pixels)
    num_images = len(image_embeds[0]) if image_embeds is not None else len(pixels["pixel_values"])
    is_view = None if view_boxes is None else torch.as_tensor(view_boxes).ne(0).any(dim=-1)

    images = (image for group in encoded for image in zip(*(each.split(1) for each in group), strict=True))

    def outputs_of_images() -> Iterator[SemanticSegmenterOutput]:
        for index, image in enumerate(images):
            others = most_similar_others(
                model, image, text_embeds[num_labels:], num_others, None if is_view is None else is_view[index]
            )
            rows = torch.cat([torch.arange(num_labels, device=others.device), others + num_labels])
            outputs = model(image_embeds=image, text_embeds=text_embeds[rows], **geometry)
            if keep_rows:
                outputs.logits = _all_rows(outputs.logits, rows, len(text_embeds))
            yield outputs

    all_outputs = outputs_of_images()
    outputs = next(all_outputs)
    logits = itertools.chain([outputs.logits], (each.logits for each in all_outputs))
    outputs.logits = joined(logits, num_images, dim=0)
    return outputs


def _encoded(model: Any, pixels: dict[str, torch.Tensor]) -> Iterable[tuple[Any, ...]]:
    # As many images at a time as the model itself would take; the model checks what was given.
    values = pixels["pixel_values"]
    num_views = values.shape[1] if values.dim() == 5 else 1
    group_size = max(1, views_at_a_time(values.device, needs_all=False) // num_views)
    for group in zip(*(each.split(group_size) for each in pixels.values()), strict=True):
        yield model.get_image_embeds(**dict(zip(pixels, group, strict=True)))


def most_similar_others(
    model: Any,
    image_embeds: Sequence[torch.Tensor],
    text_embeds: torch.Tensor,
    num_others: int,
    is_view: torch.Tensor | None = None,
) -> torch.Tensor:
    """The classes that are most similar to some place of an image.

    As where the model keeps 256 classes of more: the highest cosine similarity counts; here that of all views, and of
    the mean of all templates.

    Args:
        model ([`CatSegForSemanticSegmentation`]): The model.
        image_embeds (`Sequence[torch.Tensor]`):
            Of one image, as [`~CatSegForSemanticSegmentation.get_image_embeds`] returns them.
        text_embeds (`torch.FloatTensor` of shape `(T, P, D)` or `(T, P, S, D)`): Of the classes.
        num_others (`int`): How many.
        is_view (`torch.BoolTensor` of shape `(V,)`, *optional*): Which views there are, where others fill up a batch.

    Returns:
        `torch.LongTensor` of shape `(num_others,)`: Their rows, in rising order.
    """
    views = normalize(image_embeds[0].flatten(0, -4))  # V, h, w, D
    classes = normalize(normalize(text_embeds).mean(dim=1, keepdim=True))
    best = compute_cost_volume(views, classes).flatten(2).amax(dim=-1)  # V, T
    if is_view is not None:
        best = best.masked_fill(~is_view.to(best.device, non_blocking=True)[:, None], -1.0)
    return best.amax(dim=0).topk(num_others).indices.sort().values


def _all_rows(logits: torch.Tensor, rows: torch.Tensor, num_classes: int) -> torch.Tensor:
    size = [*logits.shape[:-3], num_classes, *logits.shape[-2:]]
    return logits.new_full(size, TRUNCATED_CLASS_LOGIT).index_copy(-3, rows, logits)


__all__ = [
    "DEFAULT_VOCABULARY",
    "NUM_OTHERS",
    "OWN",
    "LabelsWithOthers",
    "Others",
    "most_similar_others",
    "own_labels",
    "resolve_others",
    "segment_with_others",
    "tell_of_others",
    "with_others",
]
