# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Names, other wordings, what is held out, and the tokenizer."""

from collections import Counter

import numpy as np

from catseg_hf.scenes import COLORS, HELD_OUT_THINGS, SEEN_THINGS, SHAPES, THINGS, Phrases, scene_tokenizer
from catseg_hf.scenes.words import SYNONYMS, TEMPLATES, UNKNOWN, UNSEEN_TEMPLATE


def test_sixteen_pairs_and_a_dozen_combinations_are_held_out() -> None:
    assert {*SEEN_THINGS, *HELD_OUT_THINGS} == {*THINGS} and len(SEEN_THINGS) + len(HELD_OUT_THINGS) == len(THINGS)
    pairs = Counter((thing.color, thing.shape) for thing in HELD_OUT_THINGS)
    whole = [pair for pair, number in pairs.items() if number == 3]
    assert len(whole) == 16 and sum(number for number in pairs.values() if number < 3) == 12
    # Every colour and every shape lacks two, so none is known better than the others.
    assert set(Counter(color for color, _ in whole).values()) == {2} and len({color for color, _ in whole}) == 8
    assert set(Counter(shape for _, shape in whole).values()) == {2} and len({shape for _, shape in whole}) == 8


def test_phrases_say_what_they_are_asked_to_in_known_words() -> None:
    tokenizer = scene_tokenizer()
    words_of = {name: {name, SYNONYMS.get(name, name)} for name in (*COLORS, *SHAPES, "ground")}
    phrases = Phrases(np.random.default_rng(0))
    wordings = set()
    for _ in range(300):
        phrase = phrases("striped", "purple", "moon")
        words = set(phrase.split())
        assert words & words_of["purple"] and words & words_of["moon"] and words & {"striped", "stripy", "stripes"}
        assert not words & {*COLORS, *SHAPES} - {"purple", "moon"}
        color, ground = phrases(color="red"), phrases()
        assert "red" in color.split() and not {*SHAPES} & {*color.split()}
        assert {*ground.split()} & words_of["ground"]
        assert UNKNOWN not in tokenizer.tokenize(" ".join((phrase, color, ground)))
        wordings.add(phrase)
    assert len(wordings) > 100


def test_no_word_stands_for_two_things() -> None:
    assert len(set(SYNONYMS.values())) == len(SYNONYMS)
    assert not {*SYNONYMS.values()} & {*COLORS, *SHAPES, "plain", "striped", "dotted", "ground"}


def test_the_unseen_template_is_a_new_sentence_of_known_words() -> None:
    assert UNSEEN_TEMPLATE not in TEMPLATES
    assert {*UNSEEN_TEMPLATE.split()} <= {word for template in TEMPLATES for word in template.split()}


def test_tokenizer_reads_words_whatever_the_case_and_marks() -> None:
    tokenizer = scene_tokenizer()
    ids = tokenizer("A red, STRIPED circle!")["input_ids"]
    assert ids == tokenizer("a red striped circle")["input_ids"]
    assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert tokenizer.tokenize("red giraffe") == ["red", UNKNOWN]
    # Zeros mean that there is no prompt.
    assert tokenizer.pad_token_id == 0 and 0 not in ids
