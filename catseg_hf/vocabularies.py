# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Class names of the data sets that open-vocabulary segmentation is trained and measured on."""

from importlib.resources import files


def available_vocabularies() -> list[str]:
    """Names that [`load_vocabulary`] knows.

    Returns:
        `list[str]`: The names, in alphabetical order.
    """
    folder = files("catseg_hf") / "vocabularies"
    return sorted(entry.name.removesuffix(".txt") for entry in folder.iterdir() if entry.name.endswith(".txt"))


def load_vocabulary(name: str) -> list[str | list[str]]:
    """Class names of a data set, in class-id order.

    Args:
        name (`str`):
            One of [`available_vocabularies`]: `"ade20k_150"`, `"ade20k_847"`, `"coco_stuff_171"`,
            `"pascal_context_459"`, `"pascal_context_59"`, `"pascal_voc_20"` or `"pascal_voc_20b"` (PASCAL VOC with
            background: 59 names, of which the last 39 together stand for the background).

    Returns:
        `list[str | list[str]]`: One entry per class: its name, or the list of its synonyms, best known first, where the
        data set gives several (only `"ade20k_847"` does).

    Raises:
        ValueError: If there is no vocabulary of that name.

    Example:

    ```python
    >>> from catseg_hf import load_vocabulary

    >>> load_vocabulary("pascal_voc_20")[:3]
    ['aeroplane', 'bicycle', 'bird']
    ```
    """
    available = available_vocabularies()
    if name not in available:
        raise ValueError(
            f"There is no vocabulary {name!r}: use one of {', '.join(available)}, or a list of names of your own."
        )
    content = (files("catseg_hf") / "vocabularies" / f"{name}.txt").read_text(encoding="utf-8")
    vocabulary: list[str | list[str]] = []
    for line in content.splitlines():
        if line.startswith("#"):
            continue
        names = line.split(" | ")
        vocabulary.append(names[0] if len(names) == 1 else names)
    return vocabulary


__all__ = ["available_vocabularies", "load_vocabulary"]
