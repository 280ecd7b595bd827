# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Files that name the colours or the values of label files, and label files that are read by them."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Array2D, Dataset, Features, Image
from PIL import Image as PilImage

from catseg_hf.datasets import SegmentationDataset, from_hub_dataset, load_folder
from catseg_hf.datasets.checks import refuse_binary_masks
from catseg_hf.datasets.label_map import read_label_map
from catseg_hf.training import stream_rows


# Of CamVid, shortened: two colours of one class, and one that is not scored.
COLORS = {"Road": [(128, 64, 128), (128, 0, 192)], "Tree": [(128, 128, 0)], "Void": [(0, 0, 0)]}
CLASS_DICT = "name,r,g,b\n" + "".join(
    f"{name},{','.join(map(str, color))}\n" for name, colors in COLORS.items() for color in colors
)
CVAT = "# label:color_rgb:parts:actions\n" + "".join(
    f"{name}:{','.join(map(str, color))}::\n" for name, colors in COLORS.items() for color in colors
)
# Colours of the mask by these numbers, and what they are.
PALETTE = [(128, 64, 128), (128, 0, 192), (128, 128, 0), (0, 0, 0)]
NUMBERS = np.array([[0, 1, 2, 3], [3, 3, 0, 2]], dtype=np.uint8)
CLASS_IDS = [[0, 0, 1, 255], [255, 255, 0, 1]]


def mask(mode: str) -> PilImage.Image:
    """The mask in colours, stored in some mode."""
    if mode == "P":
        image = PilImage.fromarray(NUMBERS, mode="P")
        image.putpalette(np.array(PALETTE, dtype=np.uint8).tobytes())
        return image
    return PilImage.fromarray(np.array(PALETTE, dtype=np.uint8)[NUMBERS]).convert(mode)


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """Loads a folder of one photo with a mask and a label map of some text."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()

    def load(
        image: PilImage.Image, text: str | bytes, vocabulary: list | None = None, **options: Any
    ) -> SegmentationDataset:
        PilImage.new("RGB", image.size).save(tmp_path / "images" / "a.jpg")
        image.save(tmp_path / "masks" / "a.png")
        file = tmp_path / "map.txt"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_folder(tmp_path / "images", tmp_path / "masks", vocabulary, label_map=file, **options)

    return load


# ---- what the files say ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
@pytest.mark.parametrize("text", [CLASS_DICT, CVAT])
def test_colours_become_classes(load: Any, mode: str, text: str) -> None:
    dataset = load(mask(mode), text)
    assert dataset.vocabulary == ["Road", "Tree"] and dataset.num_classes == 2
    sample = pickle.loads(pickle.dumps(dataset))[0]
    assert sample.labels.tolist() == CLASS_IDS and sample.labels.dtype == np.int32


@pytest.mark.parametrize(
    "text",
    [
        CLASS_DICT.encode("utf-16"),
        b"\xef\xbb\xbf" + CLASS_DICT.replace("\n", "\r\n").encode(),
        CLASS_DICT.replace(",", ", ").replace("name", "Name") + "\n\n",
        "b,r,name,g\n" + "".join(f'{b},{r},"{name}",{g}\n' for name, colors in COLORS.items() for r, g, b in colors),
        CVAT.replace("Void", "# a comment\nIGNORE"),
        CVAT.replace("::", "") + "\n",
    ],
)
def test_files_of_editors_and_spreadsheets(load: Any, text: str | bytes) -> None:
    dataset = load(mask("RGB"), text)
    assert dataset.vocabulary == ["Road", "Tree"] and dataset[0].labels.tolist() == CLASS_IDS


def test_ids_become_classes_and_of_a_palette_the_positions(load: Any) -> None:
    text = "name,id\nroad,0\nroad,1\ntree,2\nunlabeled,3\n"
    for image in (mask("P"), PilImage.fromarray(NUMBERS)):
        assert load(image, text)[0].labels.tolist() == CLASS_IDS
    wide = PilImage.fromarray(np.array([[7, 40000]], dtype=np.uint16))
    assert load(wide, "id,name\n40000,sky\n7,sea\n")[0].labels.tolist() == [[1, 0]]


@pytest.mark.parametrize("text", ["name,id\nground,0\nsky,255\n", "name,r,g,b\nground,0,0,0\nsky,255,255,255\n"])
def test_binary_masks_are_read_by_a_label_map(load: Any, text: str) -> None:
    image = PilImage.fromarray(np.array([[0, 255, 255]], dtype=np.uint8))
    dataset = load(image, text)
    assert dataset.vocabulary == ["ground", "sky"] and dataset[0].labels.tolist() == [[0, 1, 1]]
    # Masks of 1 bit hold 0 and 1, which are black and white.
    if "r,g,b" in text:
        assert load(image.convert("1"), text)[0].labels.tolist() == [[0, 1, 1]]


def test_a_vocabulary_gives_the_order_and_has_every_name(load: Any) -> None:
    vocabulary = ["sky", ["tree", "shrub"], ["street", "road"]]
    dataset = load(mask("RGB"), CLASS_DICT, vocabulary)
    assert dataset.vocabulary == vocabulary and dataset[0].labels.tolist() == [[2, 2, 1, 255], [255, 255, 2, 1]]
    with pytest.raises(ValueError, match=r"map.txt names 'Tree', which the vocabulary does not have"):
        load(mask("RGB"), CLASS_DICT, ["sky", "road"])
    # A class of the name is scored.
    assert load(mask("RGB"), CLASS_DICT, ["void", "road", "tree"])[0].labels.tolist() == [[1, 1, 2, 0], [0, 0, 1, 2]]
    # As in vocabulary files.
    text = CLASS_DICT.replace("Road", "road | street")
    assert load(mask("RGB"), text).vocabulary == [["road", "street"], "Tree"]
    assert load(mask("RGB"), text, [["road", "street"], "tree"])[0].labels.tolist() == CLASS_IDS


def test_a_name_of_several_classes_is_that_of_the_one_that_has_it_first(load: Any) -> None:
    vocabulary = [["screen", "crt"], ["crt", "tube"], ["tree", "road"]]
    text = "name,id\ncrt,0\ncrt,1\nroad,2\ntube,3\n"
    assert load(mask("P"), text, vocabulary)[0].labels.tolist() == [[1, 1, 2, 1], [1, 1, 1, 2]]
    with pytest.raises(ValueError, match="names 'crt', which the vocabulary does not have, or has in several classes"):
        load(mask("P"), text, [["screen", "crt"], ["tube", "crt"], "road"])


def test_all_of_many_colours_are_told_apart(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    colors = np.unique(random.integers(0, 256, (300, 3), dtype=np.uint8), axis=0)
    random.shuffle(colors)
    lines = [f"class {number},{r},{g},{b}\n" for number, (r, g, b) in enumerate(colors.tolist())]
    (tmp_path / "map.csv").write_text("name,r,g,b\n" + "".join(lines))
    numbers = random.integers(0, len(colors), (64, 128))
    dataset = Dataset.from_dict({"image": [PilImage.new("L", (128, 64))], "annotation": [PilImage.new("L", (1, 1))]})
    dataset = Dataset.from_dict(
        {"image": dataset["image"], "annotation": [PilImage.fromarray(colors[numbers])]},
        features=Features({"image": Image(), "annotation": Image()}),
    )
    with pytest.raises(ValueError, match=r"`ignore_index=255` is the id of one of the 300 classes"):
        from_hub_dataset(dataset, label_map=tmp_path / "map.csv")
    loaded = from_hub_dataset(dataset, label_map=tmp_path / "map.csv", ignore_index=65535)
    np.testing.assert_array_equal(loaded[0].labels, numbers)


# ---- data sets of the library and streams ---------------------------------------------------------------------------


def test_data_sets_and_streams_of_the_library(tmp_path: Path) -> None:
    (tmp_path / "map.txt").write_text(CVAT)
    features = Features({"image": Image(), "annotation": Image()})
    rows = Dataset.from_dict({"image": [PilImage.new("L", (4, 2))], "annotation": [mask("RGB")]}, features=features)
    assert from_hub_dataset(rows, label_map=tmp_path / "map.txt")[0].labels.tolist() == CLASS_IDS
    stream, reader, vocabulary = stream_rows(rows.to_iterable_dataset(), label_map=tmp_path / "map.txt")
    assert vocabulary == ["Road", "Tree"]
    row = next(iter(stream))
    assert (
        type(reader)({0: row}, *(getattr(reader, name) for name in ("image_column", "label_column", "ids")))(
            0
        ).labels.tolist()
        == CLASS_IDS
    )
    features = Features({"image": Image(), "annotation": Array2D((2, 4), "int64")})
    arrays = Dataset.from_dict({"image": rows["image"], "annotation": [NUMBERS.tolist()]}, features=features)
    with pytest.raises(ValueError, match="'annotation' of row 0 holds no image but a list: a label map with colours"):
        from_hub_dataset(arrays, label_map=tmp_path / "map.txt")[0]
    (tmp_path / "map.txt").write_text("name,id\nroad,0\nroad,1\ntree,2\nignore,3\n")
    assert from_hub_dataset(arrays, label_map=tmp_path / "map.txt")[0].labels.tolist() == CLASS_IDS


# ---- what is wrong is named -----------------------------------------------------------------------------------------


def test_colours_and_values_that_the_file_does_not_name_are_named(load: Any) -> None:
    with pytest.raises(
        ValueError, match=r"a.png contains the colour 0,0,0 \(3 pixels\), which .*map.txt does not name"
    ):
        load(mask("RGB"), CLASS_DICT.replace("Void,0,0,0", ""))[0]
    colors = np.arange(21, dtype=np.uint8).reshape(1, 7, 3)
    colors = PilImage.fromarray(np.concatenate([colors, colors[:, 2:3]], axis=1))
    with pytest.raises(ValueError, match=r"the colours 6,7,8 \(2 pixels\), 0,1,2 \(1 pixels\), .* and 2 more, which"):
        load(colors, CLASS_DICT)[0]
    # Nor is 255 the value of pixels that are not scored by itself.
    image = PilImage.fromarray(np.array([[0, 255, 255]], dtype=np.uint8))
    with pytest.raises(ValueError, match=r"a.png contains the value 255 \(2 pixels\), .*a line for each.*ignore"):
        load(image, "name,id\nground,0\nsky,1\n")[0]


def test_masks_without_clear_colours_are_named(load: Any) -> None:
    image = mask("RGBA")
    image.putpixel((1, 0), (128, 64, 128, 40))
    with pytest.raises(ValueError, match=r"a.png has 1 transparent pixels"):
        load(image, CLASS_DICT)[0]
    with pytest.raises(ValueError, match=r"a.png is an image of mode 'I;16', which has no colours"):
        load(PilImage.fromarray(NUMBERS.astype(np.uint16)), CLASS_DICT)[0]
    with pytest.raises(ValueError, match=r"a.png is an image of mode 'RGB': .*`--label-map`"):
        load(mask("RGB"), "name,id\nroad,0\n")[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: '' is no header"),
        ("128,64,128,road\n", "line 1: '128,64,128,road' is no header of a label map. A label map is a CSV file with"),
        ("road: 128 64 128\n", "line 1: .* CVAT's labelmap.txt, whose first line is # label:color_rgb:parts:actions"),
        ("name,r,g,b,alpha\n", "line 1: 'name,r,g,b,alpha' is no header"),
        ("name,name,r,g,b\n", "line 1: 'name,name,r,g,b' is no header"),
        ("name,r,g,b\n", "map.txt names nothing"),
        ("name,r,g,b\nroad,1,2\n", "line 2: 'road,1,2' has 3 cells, not 4"),
        ("name,r,g,b\nroad,1,2,3\ntree,1,2,256\n", "line 3: 'tree' with '1,2,256' is not a name and a colour"),
        ("name,r,g,b\nroad,1,2,3.0\n", "line 2: 'road' with '1,2,3.0'"),
        ("name,r,g,b\n\nroad,1,2,3\n,3,2,1\n", "line 4: '' with '3,2,1'"),
        ("name,r,g,b\nroad,1,2,3\ntree,1,2,3\n", "line 3: 1,2,3 is that of line 2, too"),
        ("name,id\nroad,65536\n", "line 2: 'road' with '65536' is not a name and an id to 65535"),
        ("name,id\nroad,-1\n", "line 2: 'road' with '-1'"),
        ('name,id\n"road,1\n', "line 2: '\"road,1' is no line of a CSV file"),
        ("# label:color_rgb:parts:actions\nroad:::\n", "line 2: 'road' with '' is not a name and a colour"),
        ("# label:color_rgb:parts:actions\nroad\n", "line 2: 'road' with ''"),
    ],
)
def test_other_files_are_refused_by_the_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "map.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_label_map(tmp_path / "map.txt")


def test_what_does_not_go_together_is_refused(load: Any, tmp_path: Path) -> None:
    for options in ({"binary_masks": True}, {"reduce_labels": True}):
        with pytest.raises(ValueError, match="`label_map` says what all values stand for: leave out"):
            load(mask("RGB"), CLASS_DICT, **options)
    with pytest.raises(ValueError, match="names no class but pixels that are not scored"):
        load(mask("RGB"), "name,id\nvoid,0\n")
    with pytest.raises(FileNotFoundError, match=r"absent.csv"):
        read_label_map(tmp_path / "absent.csv")


def test_a_label_map_says_that_255_is_meant(load: Any) -> None:
    image = PilImage.fromarray(np.array([[0, 255, 255]], dtype=np.uint8))
    refuse_binary_masks(load(image, "name,id\nground,0\nsky,1\nignore,255\n"))
