# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Which classes compete with the labels where somebody types one word: in the command, on the page, in the service."""

from collections.abc import Sequence
from typing import Any

from catseg_hf.others_catseg import OWN


NONE = "none"


def others_by_default(labels: Sequence[Any] | None, others: Any = None) -> Any:
    """The others where nothing is said of them: of a single label the model's own classes, of several none.

    Args:
        labels (`Sequence[str | list[str]]`, *optional*): The labels.
        others (`str` or `list[str | list[str]]`, *optional*): What was asked for; `"none"` for none.

    Returns:
        `str` or `list[str | list[str]]`, *optional*: As [`resolve_others`] takes it.
    """
    if others is None:
        return OWN if labels is not None and len(labels) == 1 else None
    return None if others == NONE else others


__all__ = ["NONE", "others_by_default"]
