# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Every data set is read as its archive is distributed, and whatever is missing or damaged is named."""

import json
import logging
import pickle
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import scipy.io
import torch
from datasets import Array2D, Dataset, DatasetDict, Features, Image

from catseg_hf.datasets import SegmentationDataset, from_hub_dataset, load_benchmark, load_folder
from catseg_hf.datasets.benchmarks import _label_ids
from catseg_hf.datasets.files import (
    paint_annotations,
    read_ade20k_seg,
    read_context_mat,
    read_label_image,
    resize_bilinear,
    resize_nearest,
    shrink_ade20k,
)
from catseg_hf.datasets.folders import sample_names
from catseg_hf.evaluation import ConfusionMatrix
from catseg_hf.vocabularies import available_vocabularies, load_vocabulary
from tests.mini_datasets import CONTEXT_VAL_IDS, compress_mask, write_mini_benchmark


FIXTURES = Path(__file__).parent / "fixtures"
# Name: scored classes, names in the vocabulary, ignored id, folder in the archive's own layout
BENCHMARKS = {
    "ade20k_150": (150, 150, 255, "ADEChallengeData2016"),
    "ade20k_847": (847, 847, 65535, "ADE20K_2021_17_01"),
    "coco_stuff_171": (171, 171, 255, "coco"),
    "pascal_context_459": (459, 459, 459, "VOCdevkit/VOC2010"),
    "pascal_context_59": (59, 59, 255, "VOCdevkit/VOC2010"),
    "pascal_voc_20": (20, 20, 255, "VOCdevkit/VOC2012"),
    "pascal_voc_20b": (21, 59, 255, "VOCdevkit/VOC2012"),
}


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, np.ndarray]]]:
    """The seven data sets under one folder, and the class ids that must be read. Not to be changed."""
    root = tmp_path_factory.mktemp("data")
    return root, {name: write_mini_benchmark(name, root) for name in BENCHMARKS}


def write_png(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(values).save(path)


def check_samples(dataset: SegmentationDataset, expected: dict[str, np.ndarray]) -> None:
    assert sorted(sample.name for sample in dataset) == sorted(expected)
    for sample in dataset:
        assert sample.labels.dtype == np.int32
        assert sample.image.size == sample.labels.shape[::-1]
        np.testing.assert_array_equal(sample.labels, expected[sample.name])


# ---- the seven data sets ---------------------------------------------------------------------------------------------


def test_every_vocabulary_has_its_benchmark() -> None:
    assert sorted(BENCHMARKS) == available_vocabularies()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark_is_read_as_distributed(name: str, mini: tuple[Path, dict]) -> None:
    root, expected = mini
    num_classes, num_names, ignore_index, _ = BENCHMARKS[name]
    dataset = load_benchmark(name, root)
    assert (dataset.name, dataset.split, len(dataset)) == (name, "val", 3)
    assert (dataset.num_classes, len(dataset.vocabulary)) == (num_classes, num_names)
    assert dataset.ignore_index == ignore_index
    assert dataset.vocabulary == load_vocabulary(name)
    assert len(dataset.class_names) == num_classes and all(isinstance(entry, str) for entry in dataset.class_names)
    check_samples(dataset, expected[name])


@pytest.mark.parametrize("name", BENCHMARKS)
def test_data_root_can_be_the_folder_itself_or_any_above_it(name: str, mini: tuple[Path, dict]) -> None:
    root, expected = mini
    folder = root / BENCHMARKS[name][3]
    while folder != root:
        check_samples(load_benchmark(name, str(folder)), expected[name])
        folder = folder.parent


@pytest.mark.parametrize("name", ["ade20k_150", "coco_stuff_171"])
def test_training_images_are_a_split_of_their_own(name: str, tmp_path: Path) -> None:
    expected = {split: write_mini_benchmark(name, tmp_path, split=split) for split in ("val", "train")}
    for split in expected:
        check_samples(load_benchmark(name, tmp_path, split), expected[split])


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("coco-stuff/images/val2017", "coco-stuff/annotations/val2017"),
        ("coco/images/val2017", "coco/stuffthingmaps_trainval2017/val2017"),
        ("val2017", "val2017"),  # both archives unpacked in the same place
    ],
)
def test_other_layouts_of_coco_stuff(images: str, labels: str, tmp_path: Path) -> None:
    expected = write_mini_benchmark("coco_stuff_171", tmp_path / "original")
    shutil.copytree(tmp_path / "original" / "coco" / "val2017", tmp_path / images)
    shutil.copytree(
        tmp_path / "original" / "coco" / "stuffthingmaps" / "val2017", tmp_path / labels, dirs_exist_ok=True
    )
    check_samples(load_benchmark("coco_stuff_171", tmp_path), expected)


def test_voc_prefers_segmentation_class_aug_and_can_do_without(tmp_path: Path) -> None:
    expected = write_mini_benchmark("pascal_voc_20", tmp_path)
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    for path in (folder / "SegmentationClass").iterdir():
        write_png(path, np.zeros_like(read_label_image(path), dtype=np.uint8))
    check_samples(load_benchmark("pascal_voc_20", tmp_path), expected)
    shutil.rmtree(folder / "SegmentationClassAug")
    labels = load_benchmark("pascal_voc_20", tmp_path)[0].labels
    assert (labels == 255).all()


def test_part_of_a_data_set_is_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = write_mini_benchmark("pascal_voc_20", tmp_path)
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    gone = expected.popitem()[0]
    for name in (f"JPEGImages/{gone}.jpg", f"SegmentationClassAug/{gone}.png"):
        (folder / name).unlink()
    with caplog.at_level(logging.WARNING):
        check_samples(load_benchmark("pascal_voc_20", tmp_path), expected)
    assert "pascal_voc_20 has 2 val images" in caplog.text and "1449" in caplog.text


def test_background_of_voc_takes_all_further_names(mini: tuple[Path, dict]) -> None:
    dataset = load_benchmark("pascal_voc_20b", mini[0])
    assert dataset.class_names == [*load_vocabulary("pascal_voc_20"), "background"]
    predictions = torch.tensor([[0, 19, 20], [21, 58, 5]])
    assert dataset.map_predictions(predictions).tolist() == [[0, 19, 20], [20, 20, 5]]
    metric = ConfusionMatrix(dataset.num_classes, ignore_index=dataset.ignore_index)
    references = torch.tensor([[0, 19, 20], [20, 20, 255]])
    metric.update(dataset.map_predictions(predictions), references)
    assert metric.compute()["miou_present_in_ground_truth"] == 1

    other = load_benchmark("pascal_voc_20", mini[0])
    assert other.map_predictions(predictions) is predictions


def test_data_sets_go_to_other_processes(mini: tuple[Path, dict]) -> None:
    root, expected = mini
    for name in BENCHMARKS:
        copy = pickle.loads(pickle.dumps(load_benchmark(name, root)))
        np.testing.assert_array_equal(copy[1].labels, expected[name][copy[1].name])
    loader = torch.utils.data.DataLoader(
        load_benchmark("ade20k_150", root), batch_size=2, num_workers=1, collate_fn=list
    )
    samples = [sample for batch in loader for sample in batch]
    assert [sample.name for sample in samples] == sorted(expected["ade20k_150"])
    assert samples[0].image.size == samples[0].labels.shape[::-1]


# ---- what stored values mean -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "stored", "expected"),
    [
        ("ade20k_150", [0, 1, 150], [255, 0, 149]),
        # 11 and 182 are ids that COCO-Stuff left out.
        ("coco_stuff_171", [0, 10, 11, 12, 181, 182, 255], [0, 10, 255, 11, 170, 255, 255]),
        ("pascal_voc_20", [0, 1, 20, 255], [255, 0, 19, 255]),
        ("pascal_voc_20b", [0, 1, 20, 255], [20, 0, 19, 255]),
        ("pascal_context_459", [1, 459], [0, 458]),
        # aeroplane, bag, wood
        ("pascal_context_59", [0, 1, 2, 9, 458, 459], [255, 255, 0, 1, 58, 255]),
        # wall, building, sky; the last class; no class
        ("ade20k_847", [0, 2978, 312, 2420, 3148, 1], [65535, 0, 1, 2, 846, 65535]),
    ],
)
def test_stored_values(name: str, stored: list[int], expected: list[int], mini: tuple[Path, dict]) -> None:
    ids = load_benchmark(name, mini[0]).read.ids
    assert ids.to_class_ids(np.array([stored])).tolist() == [expected]


@pytest.mark.parametrize("name", ["ade20k_847", "coco_stuff_171", "pascal_context_59"])
def test_shipped_label_ids_are_one_for_each_class(name: str) -> None:
    assert len(set(_label_ids(name))) == len(load_vocabulary(name))


def test_shipped_validation_ids_of_context() -> None:
    assert len(set(CONTEXT_VAL_IDS)) == 5104
    assert (CONTEXT_VAL_IDS[0], CONTEXT_VAL_IDS[-1]) == ("2008_000002", "2010_006086")


def test_object_ids_of_ade20k(tmp_path: Path) -> None:
    # Red counts in tens, and blue is the number of the object.
    pixels = np.array([[[110, 162, 7], [117, 162, 0], [10, 56, 255], [0, 0, 3]]], dtype=np.uint8)
    write_png(tmp_path / "a_seg.png", pixels)
    assert read_ade20k_seg(tmp_path / "a_seg.png").tolist() == [[2978, 2978, 312, 0]]


def test_masks_are_painted_in_order_from_both_kinds_of_run_lengths() -> None:
    # Column by column: 2 pixels off, 3 on, 1 off
    lists = {"size": [2, 3], "counts": [2, 3, 1]}
    mask = np.array([[1, 0, 0], [1, 0, 0]], dtype=np.uint8)
    as_text = {"size": [2, 3], "counts": compress_mask(mask)}
    assert paint_annotations(2, 3, [(9, lists)]).tolist() == [[0, 9, 9], [0, 9, 0]]
    assert paint_annotations(2, 3, [(9, lists), (400, as_text)]).tolist() == [[400, 9, 9], [400, 9, 0]]
    whole = {"size": [2, 3], "counts": [0, 6]}
    assert paint_annotations(2, 3, [(9, lists), (5, whole)]).tolist() == [[5, 5, 5], [5, 5, 5]]
    with pytest.raises(ValueError, match=r"mask of size \[3, 2\] for an image of size \[2, 3\]"):
        paint_annotations(2, 3, [(9, {**lists, "size": [3, 2]})])
    for damaged in ([2, 30], [2, 7, -3], [2, 3], "03", "", []):
        with pytest.raises(ValueError, match="damaged mask: its runs do not add up to 2 x 3"):
            paint_annotations(2, 3, [(9, {"size": [2, 3], "counts": damaged})])


@pytest.mark.parametrize("case", json.loads((FIXTURES / "coco_masks.json").read_text()))
def test_masks_are_compressed_as_by_pycocotools(case: dict) -> None:
    # Recorded with pycocotools 2.0.11: an ellipse, noise, a cross, all and nothing.
    size = case["size"]
    values = [
        paint_annotations(*size, [(7, {"size": size, "counts": case[kind]})]) for kind in ("counts", "compressed")
    ]
    np.testing.assert_array_equal(*values)
    assert compress_mask(values[0]) == case["compressed"]


# ---- the resize of the full ADE20K -----------------------------------------------------------------------------------


def test_bilinear_resize_is_that_of_opencv_up_to_rounding() -> None:
    # Recorded with OpenCV 4.14: cv2.resize(image, (4, 5), interpolation=cv2.INTER_LINEAR)
    recorded = json.loads((FIXTURES / "opencv_resize.json").read_text())
    resized = resize_bilinear(np.array(recorded["image"], dtype=np.uint8), (5, 4))
    assert resized.dtype == np.uint8
    assert np.abs(resized.astype(int) - np.array(recorded["bilinear_5x4"])).max() <= 1


def test_nearest_resize_is_that_of_opencv() -> None:
    # Recorded likewise. Of 22 columns to 18, the tenth comes from 10 and not from 9 * 22 / 18 = 11.
    for case in json.loads((FIXTURES / "opencv_resize.json").read_text())["nearest"]:
        values = np.arange(case["old"])[None].repeat(2, axis=0)
        assert resize_nearest(values, (2, case["new"])).tolist() == [case["taken"]] * 2
        assert resize_nearest(values.T, (case["new"], 2)).T.tolist() == [case["taken"]] * 2


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((512, 2000), (512, 2000)),  # one side alone is not enough
        ((2000, 300), (2000, 300)),
        ((513, 513), (512, 512)),
        ((683, 1000), (512, 750)),
        ((1000, 683), (750, 512)),
        ((514, 515), (512, 513)),
    ],
)
def test_shorter_side_becomes_512_where_both_exceed_it(size: tuple[int, int], expected: tuple[int, int]) -> None:
    image, values = shrink_ade20k(PIL.Image.new("L", size[::-1]), np.zeros(size, dtype=np.int32))
    assert values.shape == expected and image.size == expected[::-1] and image.mode == "RGB"


# ---- what is missing or damaged --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BENCHMARKS)
def test_missing_folders_are_named_with_where_they_come_from(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        load_benchmark(name, tmp_path)
    message = str(error.value)
    assert f"{name} is not complete in {str(tmp_path)!r}" in message
    assert str(tmp_path / BENCHMARKS[name][3]) in message and "from http" in message


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("ade20k_150", "annotations/validation"),
        ("coco_stuff_171", "stuffthingmaps"),
        ("pascal_context_459", "trainval"),
        ("pascal_context_59", "trainval_merged.json"),
        ("pascal_context_59", "JPEGImages"),
        ("pascal_voc_20", "ImageSets"),
    ],
)
def test_a_single_missing_part_is_named(name: str, missing: str, tmp_path: Path) -> None:
    write_mini_benchmark(name, tmp_path)
    path = tmp_path / BENCHMARKS[name][3] / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(FileNotFoundError, match=missing):
        load_benchmark(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("ade20k_150", "annotations/validation/ADE_val_00000002.png"),
        ("ade20k_847", "images/ADE/validation/home_or_hotel/attic/ADE_val_00000002_seg.png"),
        ("coco_stuff_171", "stuffthingmaps/val2017/000000000285.png"),
        ("pascal_context_459", "trainval/2008_000003.mat"),
        ("pascal_context_459", "JPEGImages/2008_000003.jpg"),
        ("pascal_context_59", "JPEGImages/2008_000003.jpg"),
        ("pascal_voc_20b", "JPEGImages/2007_000042.jpg"),
        ("pascal_voc_20b", "SegmentationClassAug/2007_000042.png"),
    ],
)
def test_a_missing_file_is_named(name: str, missing: str, tmp_path: Path) -> None:
    write_mini_benchmark(name, tmp_path)
    path = tmp_path / BENCHMARKS[name][3] / missing
    path.unlink()
    with pytest.raises(FileNotFoundError, match="http") as error:
        load_benchmark(name, tmp_path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("name", "damaged"),
    [
        ("ade20k_150", "images/validation/ADE_val_00000001.jpg"),
        ("ade20k_150", "annotations/validation/ADE_val_00000001.png"),
        ("ade20k_847", "images/ADE/validation/urban/street/ADE_val_00000001_seg.png"),
        ("pascal_context_459", "trainval/2008_000002.mat"),
    ],
)
def test_a_damaged_file_is_named(name: str, damaged: str, tmp_path: Path) -> None:
    write_mini_benchmark(name, tmp_path)
    path = tmp_path / BENCHMARKS[name][3] / damaged
    content = path.read_bytes()
    for broken in (content[: len(content) // 2], b"", b"no image"):
        path.write_bytes(broken)
        with pytest.raises(OSError, match="damaged") as error:
            load_benchmark(name, tmp_path)[0]
        assert str(path) in str(error.value)


def test_a_damaged_annotation_file_is_named(tmp_path: Path) -> None:
    write_mini_benchmark("pascal_context_59", tmp_path)
    path = tmp_path / "VOCdevkit" / "VOC2010" / "trainval_merged.json"
    content = json.loads(path.read_text())
    first = content["images"][0]["image_id"]
    without_first = [entry for entry in content["annos_segmentation"] if entry["image_id"] != first]
    for broken in (
        "{",
        "{}",
        json.dumps({**content, "images": [{"image_id": 1}]}),
        json.dumps({**content, "annos_segmentation": without_first}),
    ):
        path.write_text(broken)
        with pytest.raises(OSError, match="damaged") as error:
            load_benchmark("pascal_context_59", tmp_path)
        assert str(path) in str(error.value)
    content["annos_segmentation"][0]["segmentation"]["size"] = [1, 1]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"mask of size \[1, 1\].*2008_000002\.jpg"):
        load_benchmark("pascal_context_59", tmp_path)[0]


def test_a_mat_file_without_label_map_is_named(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"other": np.zeros((2, 2))})
    with pytest.raises(OSError, match=r"a\.mat has no variable `LabelMap`"):
        read_context_mat(tmp_path / "a.mat")


@pytest.mark.parametrize("name", ["ade20k_150", "ade20k_847", "pascal_context_59"])
def test_labels_of_another_size_are_named_with_their_image(name: str, tmp_path: Path) -> None:
    write_mini_benchmark(name, tmp_path)
    sample = load_benchmark(name, tmp_path)[1]
    image_path = next(tmp_path.rglob(f"{sample.name}.jpg"))
    PIL.Image.new("RGB", (33, 44)).save(image_path)
    with pytest.raises(ValueError, match=r"33 x 44 pixels.* 66 x 54") as error:
        load_benchmark(name, tmp_path)[1]
    message = str(error.value)
    assert str(image_path) in message
    assert message.count(sample.name) == 2 or "trainval_merged.json" in message


def test_labels_with_unknown_values_or_colours_are_named(tmp_path: Path) -> None:
    write_mini_benchmark("ade20k_150", tmp_path)
    path = tmp_path / "ADEChallengeData2016" / "annotations" / "validation" / "ADE_val_00000001.png"
    write_png(path, np.full((48, 70), 151, dtype=np.uint8))
    with pytest.raises(ValueError, match=r"ADE_val_00000001\.png contains the values \[151\].*150 classes, 1 to 150"):
        load_benchmark("ade20k_150", tmp_path)[0]
    write_png(path, np.zeros((48, 70, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"ADE_val_00000001\.png is an image of mode 'RGB'"):
        load_benchmark("ade20k_150", tmp_path)[0]


def test_unknown_names_splits_and_roots_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no benchmark 'ade20k'.*ade20k_150.*pascal_voc_20b"):
        load_benchmark("ade20k", tmp_path)
    with pytest.raises(ValueError, match="pascal_voc_20 has no split 'train': use one of val"):
        load_benchmark("pascal_voc_20", tmp_path, "train")
    with pytest.raises(FileNotFoundError, match="`data_root` '.*nowhere' is no folder"):
        load_benchmark("pascal_voc_20", tmp_path / "nowhere")


# ---- data sets of one's own ------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two images, one of them in a folder of its own, with labels of 8 and of 16 bits."""
    random = np.random.default_rng(0)
    write_png(tmp_path / "photos" / "b.jpg", random.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    write_png(tmp_path / "photos" / "city" / "a.PNG", random.integers(0, 256, (3, 2, 3), dtype=np.uint8))
    write_png(tmp_path / "labels" / "b.png", np.array([[0, 1, 2, 255, 1, 1]] * 4, dtype=np.uint8))
    write_png(tmp_path / "labels" / "city" / "a.tif", np.array([[0, 1], [2, 255], [1, 1]], dtype=np.uint16))
    write_png(tmp_path / "labels" / "further.png", np.zeros((2, 2), dtype=np.uint8))
    return tmp_path / "photos", tmp_path / "labels"


def test_folder(folders: tuple[Path, Path]) -> None:
    dataset = load_folder(*folders, ["cat", ["grass", "lawn"], "sky"])
    assert (dataset.name, dataset.num_classes) == ("photos", 3)
    assert dataset.vocabulary == ["cat", ["grass", "lawn"], "sky"]
    assert dataset.class_names == ["cat", "grass", "sky"]
    labels = {
        "b": np.array([[0, 1, 2, 255, 1, 1]] * 4),
        "city__a": np.array([[0, 1], [2, 255], [1, 1]]),
    }
    check_samples(dataset, labels)


def test_folder_with_reduced_labels(folders: tuple[Path, Path]) -> None:
    dataset = load_folder(*folders, ["cat", "grass"], reduce_labels=True)
    assert dataset[0].labels[0].tolist() == [255, 0, 1, 255, 0, 0]


def test_vocabulary_file(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("# mine\ncat\ngrass | lawn\n\nsky\n")
    for path in (tmp_path / "classes.txt", str(tmp_path / "classes.txt")):
        assert load_folder(*folders, path).vocabulary == ["cat", ["grass", "lawn"], "sky"]
    assert load_folder(*folders, "ade20k_150").vocabulary == load_vocabulary("ade20k_150")
    with pytest.raises(ValueError, match="no vocabulary 'classes'.*pascal_voc_20b"):
        load_folder(*folders, "classes")
    with pytest.raises(ValueError, match="Labels 1 and 2 are the same"):
        load_folder(*folders, ["cat", "cat"])


def test_folders_that_do_not_fit_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    images, labels = folders
    with pytest.raises(ValueError, match=r"b\.png contains the values \[2\].*2 classes, 0 to 1.*\[255\]"):
        load_folder(images, labels, ["cat", "grass"])[0]
    with pytest.raises(FileNotFoundError, match="`labels` '.*nowhere' is no folder"):
        load_folder(images, tmp_path / "nowhere", ["cat"])
    with pytest.raises(ValueError, match="`ignore_index` must be from 0 to 65535, got -100"):
        load_folder(images, labels, ["cat"], ignore_index=-100)
    (labels / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 2 images have no labels, such as .*b\.jpg"):
        load_folder(images, labels, ["cat"])
    write_png(labels / "city" / "a.png", np.zeros((3, 2), dtype=np.uint8))
    with pytest.raises(ValueError, match="have the same name"):
        load_folder(images, labels, ["cat"])
    with pytest.raises(ValueError, match=r"`missing` must be one of \('error', 'skip'\), got 'ignore'"):
        load_folder(images, labels, ["cat"], missing="ignore")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="`images` '.*empty' holds no file"):
        load_folder(tmp_path / "empty", labels, ["cat"])


def test_images_without_labels_are_skipped_on_request(
    folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    images, labels = folders
    (labels / "b.png").unlink()
    dataset = load_folder(images, labels, ["cat", "grass", "sky"], missing="skip")
    assert [sample.name for sample in dataset] == ["city__a"]
    (warning,) = dataset.warnings
    assert re.match(r"1 of 2 images have no labels, such as .*b\.jpg: looked for .* They are left out\.$", warning)
    assert [record.getMessage() for record in caplog.records] == [f"photos: {warning}"]
    (labels / "city" / "a.tif").unlink()
    with pytest.raises(FileNotFoundError, match="2 of 2 images have no labels"):
        load_folder(images, labels, ["cat", "grass", "sky"], missing="skip")


def test_images_that_differ_only_in_their_ending_keep_it(folders: tuple[Path, Path]) -> None:
    images, labels = folders
    write_png(images / "b.png", np.zeros((4, 6, 3), dtype=np.uint8))
    both = load_folder(images, labels, ["cat", "grass", "sky"])
    assert [record[1] for record in both.records] == ["b.jpg", "b.png", "city/a.PNG"]
    assert [(sample.name, sample.labels[0, 1]) for sample in both] == [("b.jpg", 1), ("b.png", 1), ("city__a", 1)]
    assert both[0].image.getextrema() != both[1].image.getextrema()
    # Label files as `catseg segment` calls them then.
    write_png(labels / "b.png.png", np.full((4, 6), 2, dtype=np.uint8))
    assert [sample.labels[0, 1] for sample in load_folder(images, labels, ["cat", "grass", "sky"])] == [1, 2, 1]
    with pytest.raises(ValueError, match=r"b\.png is an image and, by its name, the label file of another one"):
        load_folder(images, images, ["cat", "grass", "sky"])


def test_samples_have_names_of_their_own() -> None:
    files = ["a.jpg", "b.jpg", "b.png", "c/d.jpg", "c__d.jpg", "e.jpg", "e.jpg", "e-1.jpg", "A.jpg"]
    names = ["a", "b.jpg", "b.png", "c__d.jpg-1", "c__d.jpg-2", "e-2", "e-3", "e-1", "A"]
    assert sample_names(files) == names


def test_pictures_that_are_not_taken_are_named(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    images, labels = folders
    for name in ("c.heic", "city/d.HEIC", "e.nef", "clip.mp4"):
        (images / name).write_bytes(b"")
    PIL.Image.new("RGB", (2, 2)).save(images / "f.gif")
    PIL.Image.new("RGB", (2, 2)).save(images / "named.dat", "PNG")
    for name in ("notes.txt", "a.json", "Thumbs.db", ".DS_Store", "._b.jpg", ".hidden.heic", "._g.heic"):
        (images / name).write_bytes(b"\0\5\x16\7")
    assert load_folder(images, labels, ["cat", "grass", "sky"]).warnings == [
        "1 photo(s) left out, GIF: f.gif; save it as JPEG or PNG.",
        '2 photo(s) left out, HEIC: c.heic, city/d.HEIC; `pip install "catseg-hf[heif]"`, or save it as JPEG or PNG.',
        "1 photo(s) left out, PNG: named.dat; save it as JPEG or PNG.",
        "1 raw photo(s) left out, Nikon raw: e.nef; develop it, and save it as JPEG, PNG or TIFF.",
        "1 video(s) left out, MP4: clip.mp4; give it to `catseg segment` by itself, or save its frames as JPEG or PNG.",
    ]
    (tmp_path / "phone").mkdir()
    (tmp_path / "phone" / "c.heic").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"holds no file that ends with .* 1 photo\(s\) left out, HEIC: c.heic"):
        load_folder(tmp_path / "phone", labels, ["cat"])
    (images / "b.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(OSError, match=r"b\.jpg cannot be read as an image, since it is HEIC; `pip install"):
        load_folder(images, labels, ["cat", "grass", "sky"])[0]


@pytest.mark.parametrize("labels_upright", [True, False])
def test_image_gets_the_orientation_that_its_labels_have(labels_upright: bool, tmp_path: Path) -> None:
    pixels = np.zeros((8, 16, 3), dtype=np.uint8)
    pixels[:, :8] = 255  # left half white
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned right by 90 degrees: the white half comes to the top
    (tmp_path / "images").mkdir()
    PIL.Image.fromarray(pixels).save(tmp_path / "images" / "a.jpg", exif=exif)
    shape = (16, 8) if labels_upright else (8, 16)
    write_png(tmp_path / "labels" / "a.png", np.zeros(shape, dtype=np.uint8))
    image = load_folder(tmp_path / "images", tmp_path / "labels", ["cat"])[0].image
    assert image.size == shape[::-1]
    # Nothing turns it once more.
    assert 0x0112 not in image.getexif()
    white = np.asarray(image)[..., 0] > 128
    assert white[:4, :4].all() and not white[-4:, -4:].any()
    assert white[:4, -4:].all() == labels_upright


def hub_dataset(**columns: list) -> Dataset:
    features = Features({"image": Image(), "annotation": Image()})
    return Dataset.from_dict(columns, features=features)


def test_hub_dataset(folders: tuple[Path, Path], tmp_path: Path) -> None:
    images, labels = folders
    dataset = hub_dataset(
        image=[str(images / "b.jpg"), str(images / "city" / "a.PNG")],
        annotation=[str(labels / "b.png"), str(labels / "city" / "a.tif")],
    )
    expected = {
        "000000": np.array([[0, 1, 2, 255, 1, 1]] * 4),
        "000001": np.array([[0, 1], [2, 255], [1, 1]]),
    }
    check_samples(from_hub_dataset(dataset, ["cat", "grass", "sky"]), expected)
    reduced = from_hub_dataset(
        dataset.rename_column("annotation", "map"), ["a", "b"], label_column="map", reduce_labels=True
    )
    assert reduced[0].labels[0].tolist() == [255, 0, 1, 255, 0, 0]
    pickle.loads(pickle.dumps(reduced))[1]

    dataset.to_parquet(tmp_path / "set" / "data" / "validation-00000-of-00001.parquet")
    loaded = from_hub_dataset(str(tmp_path / "set"), ["cat", "grass", "sky"])
    assert loaded.name == str(tmp_path / "set") and loaded.split == "validation"
    check_samples(loaded, expected)


def test_hub_dataset_with_labels_as_arrays() -> None:
    features = Features({"image": Image(), "label": Array2D((2, 3), "int64")})
    rows = {"image": [PIL.Image.new("L", (3, 2))], "label": [[[0, 1, 255], [1, 1, 0]]]}
    dataset = Dataset.from_dict(rows, features=features)
    assert from_hub_dataset(dataset, ["cat", "sky"], label_column="label")[0].labels.tolist() == [
        [0, 1, 255],
        [1, 1, 0],
    ]
    with pytest.raises(ValueError, match=r"column 'label' of row 0 holds no image but a list: .*cast_column\('label'"):
        from_hub_dataset(dataset, ["cat", "sky"], image_column="label", label_column="image")[0]


def test_hub_datasets_that_do_not_fit_are_refused(folders: tuple[Path, Path]) -> None:
    images, labels = folders
    dataset = hub_dataset(image=[str(images / "b.jpg")], annotation=[str(labels / "city" / "a.tif")])
    with pytest.raises(ValueError, match=r"`label_column='label'` is no column.*\['image', 'annotation'\]"):
        from_hub_dataset(dataset, ["cat"], label_column="label")
    wrong: list[Callable[[], object]] = [dataset.to_iterable_dataset, lambda: DatasetDict(train=dataset)]
    for make in wrong:
        with pytest.raises(TypeError, match="a `datasets.Dataset` is needed"):
            from_hub_dataset(make(), ["cat"])
    with pytest.raises(ValueError, match="column 'image' of row 0 has 6 x 4 pixels.*column 'annotation' of row 0"):
        from_hub_dataset(dataset, ["cat", "grass", "sky"])[0]
    (images / "b.jpg").write_bytes(b"no image")
    with pytest.raises(OSError, match="Row 0 of the data set cannot be read"):
        from_hub_dataset(dataset, ["cat"])[0]
