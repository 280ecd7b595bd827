# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""CLIP's tokenizer, made from OpenAI's list of merges (`clip_merges.txt.gz`, see `LICENSE-CLIP`)."""

import gzip
from importlib.resources import files

from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode


CONTEXT_LENGTH = 77


def clip_tokenizer() -> CLIPTokenizer:
    """The tokenizer of all released CLIP models, OpenAI's and OpenCLIP's: 49,408 tokens. Needs no network.

    Returns:
        `CLIPTokenizer`.

    Example:

    ```python
    >>> from catseg_hf.conversion import clip_tokenizer

    >>> len(clip_tokenizer())
    49408
    ```
    """
    data = (files("catseg_hf.conversion") / "clip_merges.txt.gz").read_bytes()
    lines = gzip.decompress(data).decode("utf-8").splitlines()
    merges = [tuple(line.split()) for line in lines[1:]]  # The first line is a version.
    letters = list(bytes_to_unicode().values())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(merge) for merge in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)}, merges=merges, model_max_length=CONTEXT_LENGTH
    )
