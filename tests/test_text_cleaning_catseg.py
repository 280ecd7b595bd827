# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Text as people paste it has the tokens that the original's tokenizer gives."""

import html
import re
import sys

import ftfy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catseg_hf import CatSegImageProcessor, CatSegProcessor
from catseg_hf.conversion.tokenizer import clip_tokenizer
from catseg_hf.text_cleaning_catseg import INVISIBLE, clean_text
from catseg_hf.vocabularies import available_vocabularies, load_vocabulary


def clean_as_original(text: str) -> str:
    """The plain definition, of `basic_clean` and `whitespace_clean` of CLIP's `simple_tokenizer.py`."""
    return re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(text)))).strip()


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("men\u2019s room", "men's room"),
        ("\u201cquoted\u201d sign", '"quoted" sign'),
        ("\ufb01re engine", "fire engine"),
        ("\uff23\uff21\uff34", "CAT"),
        ("\ufeffcat", "cat"),
        ("rock &amp;amp; roll", "rock & roll"),
        ("caf\u00c3\u00a9", "caf\u00e9"),
        ("cafe\u0301", "caf\u00e9"),
        ("traffic\u00a0 light\t", "traffic light"),
    ],
)
def test_text_is_cleaned_as_in_the_original(text: str, cleaned: str) -> None:
    assert clean_text(text) == clean_as_original(text) == cleaned


def test_tokens_of_a_typographic_apostrophe() -> None:
    processor = CatSegProcessor(CatSegImageProcessor(), clip_tokenizer())
    for templates in (["{}"], ["\u200b{}"]):
        (prompt,) = processor(text=["men\u2019s room"], prompt_templates=templates).input_ids[0]
        assert prompt.tolist() == [49406, 1656, 568, 1530, 49407]


@pytest.mark.parametrize(
    "text", ["ca\u200bt", "c\u00adat", "\u2060cat", "\u202acat\u202c", "\u200ecat\ufe0f", "ca\u200dt"]
)
def test_invisible_characters_go(text: str) -> None:
    assert clean_text(text) == "cat"


@pytest.mark.parametrize(
    "text", ["\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"]
)
def test_joiners_that_shape_letters_and_emoji_stay(text: str) -> None:
    assert clean_text(text) == clean_as_original(text) == text


@given(st.text(max_size=20))
def test_any_text_becomes_visible_and_stays_as_it_is(text: str) -> None:
    cleaned = clean_text(text)
    assert clean_text(cleaned) == cleaned == cleaned.strip()
    assert not re.search(rf"(?![\u200c\u200d])[{INVISIBLE}]", cleaned)


@given(
    st.text(
        st.characters(min_codepoint=1, max_codepoint=0x2500, exclude_categories=("Cc", "Cf", "Cs", "Mn")), max_size=20
    )
)
def test_visible_text_is_cleaned_as_in_the_original(text: str) -> None:
    once = clean_as_original(text)
    # Where the original's result would change once more, it is cleaned further here.
    if clean_as_original(once) == once and not re.search(rf"[{INVISIBLE}]", once):
        assert clean_text(text) == once


def test_names_of_the_shipped_vocabularies_stay_as_they_are() -> None:
    for vocabulary in available_vocabularies():
        for entry in load_vocabulary(vocabulary):
            for name in [entry] if isinstance(entry, str) else entry:
                assert clean_text(name) == name


def test_without_ftfy_plain_text_works_and_other_text_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ftfy", None)
    assert clean_text(" traffic  light") == "traffic light"
    for text in ("men\u2019s room", "rock &amp; roll", "\ufeffcat"):
        with pytest.raises(ValueError, match="pip install ftfy") as caught:
            clean_text(text)
        assert repr(text) in str(caught.value)
