# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Class names as users write them, and the sentences (prompt templates) that they are put into."""

import re
from collections.abc import Iterable, KeysView, Mapping, Sequence, Set
from typing import Any, NamedTuple

from .text_cleaning_catseg import clean_text


# The sentence of CVPR 2024.
CVPR_TEMPLATES = ("A photo of a {} in the scene",)
# The 80 sentences that CLIP was evaluated with on ImageNet, used by v1 and MMSegmentation.
IMAGENET_TEMPLATES = (
    "a bad photo of a {}.",
    "a photo of many {}.",
    "a sculpture of a {}.",
    "a photo of the hard to see {}.",
    "a low resolution photo of the {}.",
    "a rendering of a {}.",
    "graffiti of a {}.",
    "a bad photo of the {}.",
    "a cropped photo of the {}.",
    "a tattoo of a {}.",
    "the embroidered {}.",
    "a photo of a hard to see {}.",
    "a bright photo of a {}.",
    "a photo of a clean {}.",
    "a photo of a dirty {}.",
    "a dark photo of the {}.",
    "a drawing of a {}.",
    "a photo of my {}.",
    "the plastic {}.",
    "a photo of the cool {}.",
    "a close-up photo of a {}.",
    "a black and white photo of the {}.",
    "a painting of the {}.",
    "a painting of a {}.",
    "a pixelated photo of the {}.",
    "a sculpture of the {}.",
    "a bright photo of the {}.",
    "a cropped photo of a {}.",
    "a plastic {}.",
    "a photo of the dirty {}.",
    "a jpeg corrupted photo of a {}.",
    "a blurry photo of the {}.",
    "a photo of the {}.",
    "a good photo of the {}.",
    "a rendering of the {}.",
    "a {} in a video game.",
    "a photo of one {}.",
    "a doodle of a {}.",
    "a close-up photo of the {}.",
    "a photo of a {}.",
    "the origami {}.",
    "the {} in a video game.",
    "a sketch of a {}.",
    "a doodle of the {}.",
    "a origami {}.",
    "a low resolution photo of a {}.",
    "the toy {}.",
    "a rendition of the {}.",
    "a photo of the clean {}.",
    "a photo of a large {}.",
    "a rendition of a {}.",
    "a photo of a nice {}.",
    "a photo of a weird {}.",
    "a blurry photo of a {}.",
    "a cartoon {}.",
    "art of a {}.",
    "a sketch of the {}.",
    "a embroidered {}.",
    "a pixelated photo of a {}.",
    "itap of the {}.",
    "a jpeg corrupted photo of the {}.",
    "a good photo of a {}.",
    "a plushie {}.",
    "a photo of the nice {}.",
    "a photo of the small {}.",
    "a photo of the weird {}.",
    "the cartoon {}.",
    "art of the {}.",
    "a drawing of the {}.",
    "a photo of the large {}.",
    "a black and white photo of a {}.",
    "the plushie {}.",
    "a dark photo of a {}.",
    "itap of a {}.",
    "graffiti of the {}.",
    "a toy {}.",
    "itap of my {}.",
    "a photo of a cool {}.",
    "a photo of a small {}.",
    "a tattoo of the {}.",
)
# The eight sentences that the original's code offers as "imagenet_select".
IMAGENET_SELECT_TEMPLATES = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
    "A photo of a {} in the scene",
)
TEMPLATE_SETS = {
    "cvpr": CVPR_TEMPLATES,
    "imagenet": IMAGENET_TEMPLATES,
    "imagenet_select": IMAGENET_SELECT_TEMPLATES,
}

Label = str | list[str]
Labels = str | Iterable[str | Iterable[str]]

# A line break between two words, where no comma or semicolon is.
_LINE_BREAK = re.compile(r"[^\s,;]\s*[\r\n]\s*[^\s,;]")
# What programs write in the place of a character that they could not read.
REPLACEMENT_CHARACTER = "\ufffd"


def parse_labels(labels: Labels, argument: str = "text") -> list[Label]:
    """Brings labels, as users write them, into one form, and cleans them as [`clean_text`] does.

    Args:
        labels (`str` or `Iterable[str | Iterable[str]]`):
            In a list (or an array, a column, a generator, the keys of a dictionary), each string is one class, commas
            included, and a list of strings is one class with synonyms. In one string, `,` separates classes; if it
            contains `;`, then `;` separates classes and `,` synonyms.
        argument (`str`, *optional*, defaults to `"text"`):
            What error messages call `labels`.

    Returns:
        `list[str | list[str]]`: One entry for each class, a list where it has several names.

    Raises:
        ValueError: If there are no labels, or empty or duplicate ones, or one has a line break or a character that was
            lost; the message names them. Capital letters, and what [`clean_text`] removes, make no difference.
        TypeError: If `labels` has no order, or an entry is neither a string nor a list of strings.

    Example:

    ```python
    >>> parse_labels("cat, grass")
    ['cat', 'grass']
    >>> parse_labels("cat, kitten; grass")
    [['cat', 'kitten'], 'grass']
    >>> parse_labels(["trees, far away", ["cat", "kitten"]])
    ['trees, far away', ['cat', 'kitten']]
    ```
    """
    given = _split_labels(labels, argument) if isinstance(labels, str) else _listed_labels(labels, argument)
    classes = [[clean_text(name) for name in names] for names in given]
    seen: dict[tuple[str, ...], int] = {}
    for index, names in enumerate(classes):
        _check_names(names, given[index], f"Label {index + 1} of {len(classes)}")
        spelled = tuple(name.lower() for name in names)
        if len(set(spelled)) < len(spelled):
            raise ValueError(f"Label {index + 1} has the same synonym twice: {_spell(given[index])}. Leave one out.")
        if spelled in seen:
            both = [given[seen[spelled]], given[index]]
            shown = _spell(both[0]) if both[0] == both[1] else " and ".join(map(_spell, both))
            raise ValueError(f"Labels {seen[spelled] + 1} and {index + 1} are the same: {shown}. Leave one out.")
        seen[spelled] = index
    return [names[0] if len(names) == 1 else names for names in classes]


def _check_names(names: list[str], given: list[str], place: str) -> None:
    """Refuses names that are empty or damaged."""
    if not names or not all(names):
        raise ValueError(f"{place} is empty: {_spell(given)}. Leave it out.")
    for name, original in zip(names, given, strict=True):
        if _LINE_BREAK.search(original):
            raise ValueError(f"{place} has a line break, {original!r}: separate classes by commas, or give a list.")
        if REPLACEMENT_CHARACTER in name:
            raise ValueError(
                f"{place}, {name!r}, contains {REPLACEMENT_CHARACTER}, which stands for a character that was lost when "
                "the text was read: write it anew, or read its file in the encoding that it was saved in."
            )


def _split_labels(labels: str, argument: str) -> list[list[str]]:
    """The names of each class, of labels in one string."""
    if _LINE_BREAK.search(labels):
        raise ValueError(f"`{argument}` has a line break between two words, {labels!r}: put commas between classes.")
    labels = clean_text(labels)  # before it is split: full-width commas separate, the semicolon of `&amp;` does not
    if not labels:
        raise ValueError(f'`{argument}` is empty: give labels, such as "cat, grass".')
    if ";" not in labels:
        return [[entry.strip()] for entry in labels.split(",")]
    return [[name.strip() for name in entry.split(",")] for entry in labels.split(";")]


def _listed_labels(labels: Iterable[str | Iterable[str]], argument: str) -> list[list[str]]:
    """The names of each class, of labels in a list or the like."""
    entries = _as_list(labels)
    if entries is None:
        advice = ": give them in an order, as a list" if isinstance(labels, Mapping | Set) else ""
        raise TypeError(f"`{argument}` must be a string or a list of labels, got {type(labels).__name__}{advice}.")
    if not entries:
        raise ValueError(f'`{argument}` is an empty list: give at least one label, such as ["cat", "grass"].')
    classes = []
    for index, entry in enumerate(entries):
        names = [entry] if isinstance(entry, str) else _as_list(entry)
        if names is None or not all(isinstance(name, str) for name in names):
            raise TypeError(f"`{argument}[{index}]` must be a string or a list of strings (synonyms), got {entry!r}.")
        classes.append([str(name) for name in names])  # plain strings also of NumPy's
    return classes


def _as_list(values: Any) -> list[Any] | None:
    """The values in their order; `None` where there are several orders, none, or no values."""
    if isinstance(values, Mapping | bytes | bytearray | str) or not isinstance(values, Iterable):
        return None
    if getattr(values, "ndim", 1) != 1:  # of a table, the columns' names would come
        return None
    # The keys of a dictionary are a set by type, but have an order.
    if isinstance(values, Set) and not isinstance(values, KeysView):
        return None
    return list(values)


def _spell(names: list[str]) -> str:
    return repr(names[0]) if len(names) == 1 else repr(names)


def check_templates(prompt_templates: str | Sequence[str]) -> list[str]:
    """The sentences of a set of templates.

    Args:
        prompt_templates (`str` or `Sequence[str]`): The name of a set, or sentences with one `{}` each.

    Returns:
        `list[str]`: The sentences.

    Raises:
        ValueError: If there is no set of that name, the list is empty, or a sentence has not exactly one `{}`.
        TypeError: If it is neither a string nor a list.
    """
    if isinstance(prompt_templates, str):
        if prompt_templates not in TEMPLATE_SETS:
            raise ValueError(
                f"`prompt_templates={prompt_templates!r}` is no set of templates: use one of "
                f"{sorted(TEMPLATE_SETS)}, or "
                'a list of sentences with one {} each, such as ["a photo of a {}."].'
            )
        return list(TEMPLATE_SETS[prompt_templates])
    if not isinstance(prompt_templates, list | tuple):
        raise TypeError(
            f"`prompt_templates` must be the name of a set or a list, got {type(prompt_templates).__name__}."
        )
    if not prompt_templates:
        raise ValueError('`prompt_templates` is empty: give at least one sentence, such as "a photo of a {}.".')
    for template in prompt_templates:
        if not isinstance(template, str) or template.count("{}") != 1:
            raise ValueError(f"The prompt template {template!r} must be a string that contains {{}} exactly once.")
    return list(prompt_templates)


class Prompt(NamedTuple):
    """A sentence, and which label (of how many the user gave), template and synonym it is of, counted from 0."""

    label: int
    template: int
    synonym: int
    text: str


def make_prompts(classes: Sequence[Sequence[str]], templates: Sequence[str]) -> list[Prompt]:
    """Puts class names into sentences.

    Args:
        classes (`Sequence[Sequence[str]]`): The names of each class, as [`parse_labels`] cleans them.
        templates (`Sequence[str]`): Sentences with one `{}` each.

    Returns:
        `list[Prompt]`: Class by class, for each all templates, and for each of these all names.
    """
    # The original cleans whole prompts, which is the same.
    sentences = [clean_text(template) for template in templates]
    return [
        Prompt(label, number, synonym, sentence.replace("{}", name))
        for label, names in enumerate(classes)
        for number, sentence in enumerate(sentences)
        for synonym, name in enumerate(names)
    ]


__all__ = ["parse_labels"]
