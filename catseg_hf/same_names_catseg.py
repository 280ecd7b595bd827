# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Which names of classes mean the same thing, or a kind of it, as far as words tell."""

import re
from collections.abc import Iterable, Sequence

from .prompts_catseg import Label
from .text_cleaning_catseg import clean_text


# Plurals that no rule makes.
PLURALS = {
    "children": "child",
    "feet": "foot",
    "geese": "goose",
    "lenses": "lens",
    "men": "man",
    "mice": "mouse",
    "people": "person",
    "skis": "ski",
    "teeth": "tooth",
    "women": "woman",
}
# "knife" to "knives", "cherry" to "cherries", "bus" to "buses", "car" to "cars"
ENDINGS = (("ves", "f"), ("ves", "fe"), ("ies", "y"), ("es", ""), ("s", ""))
SIBILANT = re.compile(r"(s|x|z|ch|sh|o)es$")
# How data sets write what is left of a class, or that it is no object: COCO-Stuff's "wall-other" is a wall.
REST = re.compile(r"-(other|stuff|merged)$")

# "A cat" is a "cat".
ARTICLES = ("a", "an", "the", "some", "any")
# "Something red" is whatever is called red.
ANYTHING = ("something", "anything", "everything")


class SameNames:
    """Tells for labels whether another class means the same, or a kind of it.

    Names are compared cleaned, without capital letters, in singular and plural, and with the synonyms of the given
    vocabularies: "couch" is "sofa" where a vocabulary has both as names of one class. The last word of a name says what
    kind of thing it is: a "dining table" is a kind of "table". In COCO-Stuff's "wall-brick" it is the first. Of
    "something red", all names with "red" in them are kinds.

    Args:
        labels (`Sequence[str | list[str]]`): The labels.
        vocabularies (`Iterable[Sequence[str | list[str]]]`): Whose classes with several names count as synonyms.
    """

    def __init__(self, labels: Sequence[Label], vocabularies: Iterable[Sequence[Label]] = ()) -> None:
        synonyms: dict[str, set[str]] = {}
        for vocabulary in vocabularies:
            for names in vocabulary:
                if not isinstance(names, str):
                    spelled = set().union(*map(spellings, names))
                    for name in spelled:
                        synonyms.setdefault(name, set()).update(spelled)
        # To the first label that has such a name.
        self.same: dict[str, Label] = {}
        self.written: dict[str, Label] = {}
        self.properties: list[tuple[set[str], Label]] = []
        for label in labels:
            for name in [label] if isinstance(label, str) else label:
                first, *words = clean_text(name).lower().split() or [""]
                if first in ANYTHING and words:
                    self.properties.append(({*words}, label))
                for spelling in spellings(name):
                    self.written.setdefault(spelling, label)
                    for each in (spelling, *synonyms.get(spelling, ())):
                        self.same.setdefault(each, label)

    def label_of(self, other: Label, *, kinds_too: bool) -> Label | None:
        """The label that means the same as another class.

        Args:
            other (`str` or `list[str]`): The class.
            kinds_too (`bool`): Whether a kind of the label counts as the same.

        Returns:
            `str` or `list[str]`, *optional*: The label; `None` if there is none.
        """
        names = [other] if isinstance(other, str) else other
        # Of kinds not with synonyms, by which an "arcade machine" would be a kind of "car".
        for labels, forms in [(self.same, spellings), (self.written, broader_names)][: 1 + kinds_too]:
            for name in names:
                for form in sorted(forms(name)):
                    if form in labels:
                        return labels[form]
        words = {word for name in names for word in clean_text(name).lower().replace("-", " ").split()}
        return next((label for needed, label in self.properties if kinds_too and needed <= words), None)


def spellings(name: str) -> set[str]:
    """A name in small letters, and what it can be the plural of.

    Args:
        name (`str`): The name of a class.

    Returns:
        `set[str]`: The name and its singulars, of words with one blank between them; of "wall-brick" also those of
        "brick wall".
    """
    return {" ".join(words) for words in _word_orders(name)}


def broader_names(name: str) -> set[str]:
    """What a name's last words call it: of "red fire engine" these are "fire engine" and "engine".

    Args:
        name (`str`): The name of a class.

    Returns:
        `set[str]`: Shorter names, as [`spellings`] writes them.
    """
    return {" ".join(words[first:]) for words in _word_orders(name) for first in range(1, len(words))}


def _word_orders(name: str) -> list[list[str]]:
    article, _, rest = clean_text(name).lower().partition(" ")
    name = REST.sub("", rest if article in ARTICLES and rest else clean_text(name).lower())
    orders = [name.replace("-", " ").split()]
    first, hyphen, second = name.partition("-")
    if hyphen and " " not in name:
        orders.append([*second.split("-"), first])
    return [[*words[:-1], last] for words in orders if words for last in _singulars(words[-1])]


def _singulars(word: str) -> list[str]:
    if word in PLURALS:
        return [word, PLURALS[word]]
    found = [word]
    if not word.endswith(("ss", "us", "is")) and len(word) > 3:
        for ending, singular in ENDINGS:
            if word.endswith(ending) and (ending != "es" or SIBILANT.search(word)):
                found.append(word.removesuffix(ending) + singular)
    return found


__all__ = ["SameNames", "broader_names", "spellings"]
