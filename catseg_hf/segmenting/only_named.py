# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Which classes compete with the labels where somebody types one word: in the command, on the page, in the service."""

from collections.abc import Sequence
from typing import Any

from catseg_hf.others_catseg import OWN


NONE = "none"


def others_by_default(labels: Sequence[Any] | None, others: Any = None) -> Any:
    """The others that were asked for, as [`resolve_others`] takes them; `"none"` for none.

    Where nothing is said of them, they are, of a single label, the model's own classes, and of several none.
    """
    if others is None:
        return OWN if labels is not None and len(labels) == 1 else None
    return None if others == NONE else others
