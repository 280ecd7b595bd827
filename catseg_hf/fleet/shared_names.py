# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Which of any number of names occur more than once, and which of them were there before, at eight bytes each."""

import hashlib
import os
from collections.abc import Iterable

import numpy as np


class Names:
    """A set of names.

    Of each stays a hash of 64 bits. Two different names share one by chance in a set of ten million with a probability
    of 3e-6.

    Args:
        names (`Iterable[str]`): The names.
        repeated (`bool`, *optional*, defaults to `False`): Whether only those count that occur more than once.
    """

    def __init__(self, names: Iterable[str], *, repeated: bool = False) -> None:
        hashes = np.fromiter((_hash(name) for name in names), np.uint64)
        unique, counts = np.unique(hashes, return_counts=True)
        self._hashes = unique[counts > 1] if repeated else unique

    def __contains__(self, name: str) -> bool:
        value = np.uint64(_hash(name))
        place = np.searchsorted(self._hashes, value)
        return place < len(self._hashes) and self._hashes[place] == value


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(os.fsencode(name), digest_size=8).digest(), "big")


__all__ = ["Names"]
