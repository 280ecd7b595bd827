# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The shipped class lists are complete, in class-id order, and load without the network."""

from pathlib import Path

import pytest

from catseg_hf.vocabularies import available_vocabularies, load_vocabulary


# name: number of classes, {class id: name}, taken from the data sets themselves
EXPECTED = {
    "ade20k_150": (150, {0: "wall", 44: "chest of drawers", 149: "flag"}),
    "ade20k_847": (847, {0: "wall", 1: ["building", "edifice"], 4: ["road", "route"]}),
    "coco_stuff_171": (171, {0: "person", 79: "toothbrush", 80: "banner", 170: "wood"}),
    "pascal_context_459": (459, {0: "accordion", 458: "wool"}),
    "pascal_context_59": (59, {0: "aeroplane", 58: "wood"}),
    "pascal_voc_20": (20, {0: "aeroplane", 19: "tvmonitor"}),
    "pascal_voc_20b": (59, {0: "aeroplane", 19: "tvmonitor", 20: "bag", 58: "wood"}),
}


def test_available_vocabularies_are_the_expected_ones() -> None:
    assert available_vocabularies() == sorted(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_vocabulary_has_its_classes_in_order(name: str) -> None:
    number, names = EXPECTED[name]
    vocabulary = load_vocabulary(name)
    assert len(vocabulary) == number
    assert {index: vocabulary[index] for index in names} == names


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_name_is_clean_and_every_class_is_unlike_the_others(name: str) -> None:
    classes = [tuple([entry] if isinstance(entry, str) else entry) for entry in load_vocabulary(name)]
    assert len(set(classes)) == len(classes)
    for names in classes:
        assert len(set(names)) == len(names)
        assert all(text and text == text.strip() and "|" not in text and "," not in text for text in names)


def test_only_the_full_ade20k_has_synonyms() -> None:
    nested = {name for name in EXPECTED if any(isinstance(entry, list) for entry in load_vocabulary(name))}
    assert nested == {"ade20k_847"}
    assert sum(isinstance(entry, list) for entry in load_vocabulary("ade20k_847")) == 217


def test_voc_with_background_starts_with_voc() -> None:
    assert load_vocabulary("pascal_voc_20b")[:20] == load_vocabulary("pascal_voc_20")
    assert sorted(load_vocabulary("pascal_voc_20b")) == sorted(load_vocabulary("pascal_context_59"))


def test_each_call_returns_a_list_of_its_own() -> None:
    load_vocabulary("ade20k_847")[1].append("changed")
    assert load_vocabulary("ade20k_847")[1] == ["building", "edifice"]


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text('# mine\ncat | kitten \n\n"grass, wet"\n', encoding="utf-8")
    assert load_vocabulary(path) == load_vocabulary(str(path)) == [["cat", "kitten"], "grass, wet"]
    path.write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"classes\.txt names no class"):
        load_vocabulary(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"classes\.txt is no text"):
        load_vocabulary(path)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no vocabulary 'ade20k'.*ade20k_150.*pascal_voc_20b"):
        load_vocabulary("ade20k")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_files_of_editors_and_spreadsheets(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "classes.csv"
    path.write_bytes('café\r\n"trees, far away"\r\n"24"" monitor | screen"\r\n\r\n\r\n'.encode(encoding))
    assert load_vocabulary(path) == ["café", "trees, far away", ['24" monitor', "screen"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat\ngrass, sky\n", r"line 2 has ',' in it: 'grass, sky'\. Write one class a line"),
        (b"cat;grass", "line 1 has ';'"),
        (b"id\tname\n0\tcat", r"line 1 has '\\t'"),
        (b'"cat","grass"', "line 1 starts with a quotation mark, but is not one quoted cell"),
        (b'"quoted" sign', "line 1 starts with a quotation mark"),
        ("cat".encode("utf-16-le"), "UTF-16 without a byte-order mark"),
        ("café".encode("latin-1"), "no text in UTF-8"),
    ],
)
def test_files_that_would_be_read_wrong_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_vocabulary(path)
