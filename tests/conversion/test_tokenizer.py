# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The tokenizer made from the merges file gives the token ids of the official code."""

import json
from pathlib import Path

import pytest

from catseg_hf.conversion import clip_tokenizer


REFERENCE = json.loads((Path(__file__).parents[1] / "fixtures" / "tokenizer.json").read_text(encoding="utf-8"))
# The official code raises on prompts that are too long, and undoes HTML escapes, which is left to the processor.
CASES = [
    (text, ids)
    for text, ids in zip(REFERENCE["texts"], REFERENCE["official"], strict=True)
    if isinstance(ids, list) and "&" not in text
]


def test_size() -> None:
    tokenizer = clip_tokenizer()
    assert len(tokenizer) == 49408
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (49406, 49407)
    assert tokenizer.model_max_length == 77


def test_enough_cases() -> None:
    assert len(CASES) >= 18


@pytest.mark.parametrize(("text", "ids"), CASES)
def test_token_ids(text: str, ids: list[int]) -> None:
    assert clip_tokenizer()(text)["input_ids"] == ids


def test_saved_and_loaded_again(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    clip_tokenizer().save_pretrained(tmp_path)
    text = "a photo of many people's cars."
    assert AutoTokenizer.from_pretrained(tmp_path)(text)["input_ids"] == clip_tokenizer()(text)["input_ids"]
