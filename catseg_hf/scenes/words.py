# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The words for what drawn scenes show: names, other wordings, what training never sees, and their tokenizer."""

import numpy as np
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from .drawing import COLORS, PATTERNS, SHAPES, THINGS, Thing


# What a scene is called where no shape is.
GROUND = "ground"
MAX_TOKENS = 32  # of a prompt

# Other words; each stands for one thing only.
SYNONYMS = {
    "plain": "solid",
    "striped": "stripy",
    "dotted": "spotted",
    "purple": "violet",
    "circle": "disc",
    "square": "box",
    "ring": "donut",
    "cross": "plus",
    "moon": "crescent",
    GROUND: "background",
}
MARKS = {"striped": "stripes", "dotted": "dots"}  # "red circle with stripes"
TEMPLATES = (
    "{}",
    "a {}",
    "the {}",
    "one {}",
    "a picture of a {}",
    "a picture of the {}",
    "there is a {}",
    "here is the {}",
    "i see a {} here",
    "a {} in the picture",
)
UNSEEN_TEMPLATE = "in the picture i see the {}"  # of words that are in the others

PADDING, UNKNOWN, START, END = "<|padding|>", "<|unknown|>", "<|startoftext|>", "<|endoftext|>"


def _held_out() -> tuple[Thing, ...]:
    colors = tuple(COLORS)
    # 16 of the 64 pairs of colour and shape: two shapes of each colour, two colours of each shape.
    pairs = {(color, SHAPES[(index + shift) % 8]) for index, color in enumerate(colors) for shift in (2, 5)}
    # And a dozen single combinations of other pairs.
    singles = {
        Thing(PATTERNS[index % 3], colors[index % 8], SHAPES[(index + (0 if index < 8 else 3)) % 8])
        for index in range(12)
    }
    return tuple(thing for thing in THINGS if (thing.color, thing.shape) in pairs or thing in singles)


# Combinations that training neither draws nor names.
HELD_OUT_THINGS = _held_out()
# Combinations that training draws and names.
SEEN_THINGS = tuple(thing for thing in THINGS if thing not in HELD_OUT_THINGS)


class Phrases:
    """Random wordings of things, as people may write them.

    Args:
        rng (`np.random.Generator`): Chooses among them.

    Example:

    ```python
    >>> from catseg_hf.scenes import Phrases

    >>> phrase = Phrases(np.random.default_rng(0))(color="red", shape="circle")
    ```
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def __call__(self, pattern: str | None = None, color: str | None = None, shape: str | None = None) -> str:
        """One wording in a random template.

        Args:
            pattern, color, shape (`str`, *optional*): What is said of a thing; nothing at all means the ground.

        Returns:
            `str`: Such as `"a picture of a red disc with dots"`, `"something blue"` or `"the ground"`.
        """
        phrase = self._phrase(pattern, color, shape)
        return TEMPLATES[self.rng.integers(len(TEMPLATES))].replace("{}", phrase)

    def _phrase(self, pattern: str | None, color: str | None, shape: str | None) -> str:
        if pattern is None and color is None and shape is None:
            return self._word(GROUND)
        said = [self._word(word) for word in (pattern, color) if word is not None]
        marks = MARKS.get(pattern)
        if marks is not None and self.rng.random() < 0.2:
            said = [*([] if color is None else [self._word(color)]), self._word(shape or "thing"), "with", marks]
            return " ".join(said)
        if len(said) == 2 and self.rng.random() < 0.3:
            said.reverse()
        if shape is not None:
            return " ".join([*said, self._word(shape)])
        kind = self.rng.integers(3)
        return " ".join([*(["something"] if kind == 1 else []), *said, *(["thing"] if kind == 2 else [])])

    def _word(self, word: str) -> str:
        return SYNONYMS[word] if word in SYNONYMS and self.rng.random() < 0.3 else word


def scene_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of whole words that knows those of this file, and has one token for all others.

    Returns:
        `PreTrainedTokenizerFast`.

    Example:

    ```python
    >>> from catseg_hf.scenes import scene_tokenizer

    >>> tokenizer = scene_tokenizer()
    >>> tokenizer.tokenize("a red star")
    ['a', 'red', 'star']
    ```
    """
    sentences = " ".join((*TEMPLATES, UNSEEN_TEMPLATE)).replace("{}", "").split()
    words = [*PATTERNS, *COLORS, *SHAPES, GROUND, *SYNONYMS.values(), *MARKS.values(), "with", "something", "thing"]
    tokens = [PADDING, UNKNOWN, *dict.fromkeys([*words, *sentences]), START, END]
    ids = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(Regex(r"[^\w]+"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(token, ids[token]) for token in (START, END)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PADDING,
        unk_token=UNKNOWN,
        bos_token=START,
        eos_token=END,
        model_max_length=MAX_TOKENS,
    )


__all__ = ["GROUND", "HELD_OUT_THINGS", "SEEN_THINGS", "SYNONYMS", "TEMPLATES", "Phrases", "scene_tokenizer"]
