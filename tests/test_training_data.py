# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.

import dataclasses
import json
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from catseg_hf import CatSegForSemanticSegmentation, CatSegImageProcessor, CatSegProcessor
from catseg_hf.datasets import Sample, SegmentationDataset, checks, load_folder
from catseg_hf.training import Collator, Recipe, TrainingSamples, TrainingStream, stream_rows, streams
from tests import golden
from tests.small_evaluations import NAMES, save_small_data_set, small_data_set
from tests.tiny_models import backbone_fields, random_input_ids, tiny_model


RECIPE = Recipe(steps=6, batch_size=3, crop_size=32)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    # `datasets` waits 5 seconds at the end of a stream.
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)


@pytest.fixture
def data(tmp_path: Path) -> SegmentationDataset:
    save_small_data_set(tmp_path)
    return small_data_set(tmp_path)


def equal(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def test_a_place_decides_on_order_and_augmentation(data: SegmentationDataset) -> None:
    samples, again = TrainingSamples(data, RECIPE, seed=3), TrainingSamples(data, RECIPE, seed=3)
    assert len(samples) == 18
    items = [samples[place] for place in range(18)]
    # In any order, and by other processes, from any place on.
    assert all(equal(again[place], items[place]) for place in (17, 2, 9))
    loader = DataLoader(again, sampler=range(7, 18), batch_size=None, num_workers=2)
    loaded = [{name: value.numpy() for name, value in item.items()} for item in loader]
    assert all(equal(item, expected) for item, expected in zip(loaded, items[7:], strict=True))
    # Other seeds and epochs give others: each image occurs once an epoch, but never twice alike.
    assert not any(equal(TrainingSamples(data, RECIPE, seed=4)[place], items[place]) for place in range(18))
    assert not any(equal(items[first], items[second]) for first in range(18) for second in range(first))
    with pytest.raises(IndexError, match="Place 18"):
        samples[18]


def test_every_epoch_has_every_image_once_and_in_a_new_order(data: SegmentationDataset) -> None:
    read: list[int] = []

    class Watched(SegmentationDataset):
        def __getitem__(self, index: int) -> Any:
            read.append(index)
            return super().__getitem__(index)

    samples = TrainingSamples(data, RECIPE)
    data.__class__ = Watched
    for place in range(15):
        samples[place]
    epochs = [read[:5], read[5:10], read[10:]]
    assert all(sorted(epoch) == list(range(5)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def truncate(folder: Path) -> None:
    path = folder / "images" / "2.png"
    path.write_bytes(path.read_bytes()[:100])


def corrupt_label(folder: Path) -> None:
    (folder / "labels" / "2.png").write_bytes(b"no image")


def foreign_id(folder: Path) -> None:
    Image.fromarray(np.full((31, 37), 77, np.uint8)).save(folder / "labels" / "2.png")


def empty_annotation(folder: Path) -> None:
    Image.fromarray(np.full((31, 37), 255, np.uint8)).save(folder / "labels" / "2.png")


FAULTS = [(truncate, r"images.2\.png"), (corrupt_label, r"labels.2\.png"), (foreign_id, r"labels.2\.png.*77")]
FAULTS += [(empty_annotation, "2 has an empty annotation")]


@pytest.mark.parametrize(("spoil", "message"), FAULTS)
def test_bad_samples_are_refused_by_name_or_skipped_and_counted(
    data: SegmentationDataset,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], None],
    message: str,
) -> None:
    good = [TrainingSamples(data, RECIPE)[place] for place in range(5)]
    spoil(tmp_path)
    with pytest.raises(ValueError, match=f"(?s)Sample 2 of images .*{message}.*skip"):
        [TrainingSamples(data, RECIPE)[place] for place in range(5)]

    samples = TrainingSamples(data, RECIPE, on_bad_sample="skip")
    with caplog.at_level(logging.WARNING):
        items = [samples[place] for place in range(5)]
    assert samples.num_skipped == 1
    skipped = [text for record in caplog.records if (text := record.getMessage()).startswith("Skipped")]
    assert len(skipped) == 1 and re.search(f"(?s)Skipped sample 2 .*{message}", skipped[0])
    # All others are where they were; the next one takes the place.
    changed = [place for place in range(5) if not equal(items[place], good[place])]
    assert len(changed) == 1
    assert equal(items[changed[0]], good[(changed[0] + 1) % 5])


def test_skipped_samples_are_counted_across_processes(data: SegmentationDataset, tmp_path: Path) -> None:
    truncate(tmp_path)
    samples = TrainingSamples(data, RECIPE, on_bad_sample="skip")
    for _ in DataLoader(samples, sampler=range(15), batch_size=None, num_workers=2):
        pass
    assert samples.num_skipped == 3  # once in each of three epochs


def test_a_data_set_without_any_usable_sample_ends(data: SegmentationDataset, tmp_path: Path) -> None:
    for path in (tmp_path / "labels").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="None of the 5 samples"):
        TrainingSamples(data, RECIPE, on_bad_sample="skip")[0]


def test_unusual_labels_are_said_with_figures(
    data: SegmentationDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = np.concatenate([sample.labels.ravel() for sample in data]) == 255
    expected = [
        "images (all), 5 of 5 label maps: 1 of 5 classes never occur in the labels: dog.",
        f"images (all), 5 of 5 label maps: {share.mean():.1%} of the pixels do not count: their label is 255.",
    ]
    assert TrainingSamples(data, RECIPE).label_warnings == expected
    assert [record.getMessage() for record in caplog.records] == expected
    # Of a large data set some, from all parts of it, and without those that cannot be read.
    monkeypatch.setattr(checks, "NUM_SAMPLED", 3)
    (tmp_path / "images" / "1.png").write_bytes(b"no image")
    samples = TrainingSamples(data, RECIPE, on_bad_sample="skip")
    assert all("2 of 5 label maps" in warning for warning in samples.label_warnings)
    share = np.concatenate([data[index].labels.ravel() for index in (0, 3)]) == 255
    assert samples.label_warnings[-1].endswith(f"{share.mean():.1%} of the pixels do not count: their label is 255.")


def test_what_was_left_out_is_said_once_and_kept(
    data: SegmentationDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "images" / "phone.heic").write_bytes(b"")
    dataset = load_folder(tmp_path / "images", tmp_path / "labels", data.vocabulary)
    samples = TrainingSamples(dataset, RECIPE)
    (warning,) = dataset.warnings
    assert samples.label_warnings[0] == f"images (all): {warning}" and "HEIC: phone.heic" in warning
    assert sum("HEIC" in record.getMessage() for record in caplog.records) == 1


def test_usual_labels_are_nothing_to_say(data: SegmentationDataset, caplog: pytest.LogCaptureFixture) -> None:
    data.vocabulary, data.class_names, data.num_classes = NAMES[:4], NAMES[:4], 4
    data.read = lambda record: Sample("a", Image.new("RGB", (40, 40)), np.arange(1600).reshape(40, 40) % 4)
    assert TrainingSamples(data, RECIPE).label_warnings == [] and not caplog.records


def test_impossible_arguments_are_refused(data: SegmentationDataset) -> None:
    with pytest.raises(ValueError, match="on_bad_sample.*'ignore'"):
        TrainingSamples(data, RECIPE, on_bad_sample="ignore")
    with pytest.raises(ValueError, match="ignore_index=4"):
        TrainingSamples(data, RECIPE, ignore_index=4)
    data.num_classes = 3
    with pytest.raises(ValueError, match="3 classes of a vocabulary of 5"):
        TrainingSamples(data, RECIPE)


def test_the_value_of_unlabelled_pixels_becomes_the_models(tmp_path: Path) -> None:
    images, labels, _ = save_small_data_set(tmp_path)
    # As CamVid has it: the value behind the last class.
    for path in labels.iterdir():
        ids = np.asarray(Image.open(path)).copy()
        ids[ids == 255] = 5
        Image.fromarray(ids).save(path)
    data = load_folder(images, labels, NAMES, ignore_index=5)
    ids = np.concatenate([TrainingSamples(data, RECIPE)[place]["labels"].ravel() for place in range(10)])
    assert set(np.unique(ids)) == {0, 1, 2, 3, 255}


# ---- streams --------------------------------------------------------------------------------------------------------


def rows(data: SegmentationDataset) -> datasets.Dataset:
    samples = [data[index] for index in range(len(data))]
    columns = {
        "image": [sample.image for sample in samples],
        "annotation": [Image.fromarray(sample.labels.astype(np.uint8)) for sample in samples],
    }
    features = datasets.Features({"image": datasets.Image(), "annotation": datasets.Image()})
    return datasets.Dataset.from_dict(columns, features=features)


def take(number: int, stream: TrainingStream) -> list[dict[str, Any]]:
    return [item for item, _ in zip(stream, range(number), strict=False)]


def test_a_stream_goes_on_where_it_was(data: SegmentationDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, reader, vocabulary = stream_rows(rows(data).to_iterable_dataset(num_shards=2), NAMES)
    assert vocabulary == NAMES
    options = {"seed": 1, "buffer_size": 3}
    items = take(13, TrainingStream(stream, reader, RECIPE, **options))
    assert [item["position"].tolist() for item in items] == [[place // 5, place % 5] for place in range(13)]
    for place in (0, 3, 4, 7):
        epoch, row = items[place]["position"]
        after = TrainingStream(stream, reader, RECIPE, **options, start=(int(epoch), int(row) + 1))
        assert all(equal(*pair) for pair in zip(take(5, after), items[place + 1 : place + 6], strict=True))
    whole = dataclasses.replace(RECIPE, crop_size=128, resize="none", flip=False)  # the same in every epoch
    sums = [int(item["labels"].sum()) for item in take(10, TrainingStream(stream, reader, whole, **options))]
    assert sorted(sums[:5]) == sorted(sums[5:]) and sums[:5] != sums[5:]
    # As in one of two processes of a data loader, which would wait for each other for seconds after the error.
    monkeypatch.setattr(streams, "get_worker_info", lambda: SimpleNamespace(num_workers=2))
    with pytest.raises(ValueError, match="num_workers"):
        next(iter(TrainingStream(stream, reader, RECIPE)))


@pytest.mark.slow
def test_a_stream_refuses_or_skips_bad_rows(data: SegmentationDataset, caplog: pytest.LogCaptureFixture) -> None:
    encoded = rows(data).cast_column("image", datasets.Image(decode=False))
    damaged = [
        row if index != 2 else {"bytes": b"no image", "path": None} for index, row in enumerate(encoded["image"])
    ]
    features = datasets.Features({"image": datasets.Image(), "annotation": datasets.Image()})
    columns = {"image": damaged, "annotation": encoded["annotation"]}
    stream, reader, _ = stream_rows(datasets.Dataset.from_dict(columns, features=features).to_iterable_dataset(), NAMES)
    with pytest.raises(ValueError, match=r"Row \d of the stream cannot be read"):
        take(5, TrainingStream(stream, reader, RECIPE))
    skipping = TrainingStream(stream, reader, RECIPE, on_bad_sample="skip")
    items = take(5, skipping)
    assert [int(item["position"][0]) for item in items] == [0, 0, 0, 0, 1]
    assert skipping.num_skipped in (1, 2) and "Skipped sample" in caplog.text


def two_classes(masks: list[np.ndarray], **options: Any) -> TrainingStream:
    """A stream of masks of the classes ground and sky."""
    features = datasets.Features({"image": datasets.Image(), "annotation": datasets.Image()})
    columns = {
        "image": [Image.new("RGB", mask.shape[::-1]) for mask in masks],
        "annotation": [Image.fromarray(mask) for mask in masks],
    }
    rows = datasets.Dataset.from_dict(columns, features=features).to_iterable_dataset()
    stream, reader, _ = stream_rows(rows, None if "label_map" in options else ["ground", "sky"], **options)
    return TrainingStream(stream, reader, RECIPE, on_bad_sample="skip")


def test_a_stream_of_binary_masks_is_refused_before_its_first_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = [np.array([[0, 255], [0, 0]], np.uint8)] * 6
    refused = r"No pixel of .* is 'sky', and 25.0% .*\(6 label maps were looked at\).*--binary-masks.*--label-map"
    with pytest.raises(ValueError, match=refused):
        next(iter(two_classes(masks)))
    monkeypatch.setattr(streams, "NUM_SAMPLED", 4)
    with pytest.raises(ValueError, match=r"\(4 label maps were looked at\)"):
        next(iter(two_classes(masks)))
    # Those that begin later, too: black masks alone are nothing unusual.
    black = [np.zeros((2, 2), np.uint8)] * 6
    later = two_classes([*black, *masks])
    later.buffer_size = 1
    stream = iter(later)
    assert len([next(stream) for _ in range(6)]) == 6
    with pytest.raises(ValueError, match=r"\(7 label maps were looked at\)"):
        next(stream)
    # Whoever says what 255 is gets what was asked for.
    assert len(take(6, two_classes(masks, binary_masks=True))) == 6
    (tmp_path / "map.csv").write_text("name,id\nground,0\nsky,1\nignore,255\n")
    assert len(take(6, two_classes(masks, label_map=tmp_path / "map.csv"))) == 6


def test_a_stream_of_two_classes_waits_for_the_second_one_and_loses_nothing() -> None:
    masks = [np.array([[0, 255], [0, value]], np.uint8) for value in (0, 0, 0, 1)]
    items = take(8, two_classes(masks))
    assert [item["position"].tolist() for item in items] == [[place // 4, place % 4] for place in range(8)]
    # From the middle of an epoch, whose rest may not have it.
    stream = two_classes(masks)
    stream.start = (0, 2)
    assert [item["position"].tolist() for item in take(6, stream)] == [[0, 2], [0, 3], [1, 0], [1, 1], [1, 2], [1, 3]]


def test_unusual_labels_of_a_stream_are_said_once(
    data: SegmentationDataset, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, reader, _ = stream_rows(rows(data).to_iterable_dataset(), NAMES)
    take(12, TrainingStream(stream, reader, RECIPE))
    share = (np.concatenate([sample.labels.ravel() for sample in data]) == 255).mean()
    messages = [record.getMessage().partition(", ")[2] for record in caplog.records]
    assert messages == [
        "first 5 label maps: 1 of 5 classes never occur in the labels: dog.",
        f"first 5 label maps: {share:.1%} of the pixels do not count: their label is 255.",
    ]
    caplog.clear()
    monkeypatch.setattr(streams, "NUM_SAMPLED", 2)
    take(3, TrainingStream(stream, reader, RECIPE))
    assert caplog.records and all("first 2 label maps" in record.getMessage() for record in caplog.records)


def test_a_stream_with_other_columns_is_refused(data: SegmentationDataset) -> None:
    with pytest.raises(ValueError, match="label_column='mask'.*annotation"):
        stream_rows(rows(data).to_iterable_dataset(), NAMES, label_column="mask")
    with pytest.raises(TypeError, match="IterableDataset"):
        stream_rows(rows(data), NAMES)


# ---- batches --------------------------------------------------------------------------------------------------------


def test_batches_are_what_the_original_trains_on(data: SegmentationDataset) -> None:
    samples = TrainingSamples(data, dataclasses.replace(RECIPE, crop_size=96))
    items = [samples[0], samples[1]]
    batch = Collator(CatSegImageProcessor(image_size=64))(items)
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        "pixel_values": (2, 3, 64, 64),
        "labels": (2, 96, 96),
    }
    # Labels keep their size: the loss resizes the logits. Images: normalised, then resized as a whole.
    assert batch["labels"].dtype == torch.int64
    assert np.array_equal(batch["labels"][1], items[1]["labels"])
    mean = torch.tensor([122.7709383, 116.7460125, 104.09373615]).view(-1, 1, 1)
    std = torch.tensor([68.5005327, 66.6321579, 70.3231630]).view(-1, 1, 1)
    normalized = (torch.tensor(items[0]["pixels"]).permute(2, 0, 1) - mean) / std
    expected = torch.nn.functional.interpolate(normalized[None], size=(64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(batch["pixel_values"][:1], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("backbone", [None, "resnet"])
def test_a_batch_is_all_that_the_model_needs(data: SegmentationDataset, backbone: str | None) -> None:
    model = tiny_model(**(backbone_fields(backbone) if backbone else {})).train()
    options = {"image_size": 64}
    if backbone:
        statistics = {"backbone_image_mean": [0.5] * 3, "backbone_image_std": [0.25] * 3}
        options |= {"backbone_size": 128, **statistics}
    processor = CatSegProcessor.__new__(CatSegProcessor)  # without a tokenizer
    processor.image_processor = CatSegImageProcessor(**options)
    samples = TrainingSamples(data, RECIPE)
    batch = next(iter(DataLoader(samples, sampler=range(4), batch_size=4, collate_fn=Collator(processor))))
    loss = model(**batch, input_ids=random_input_ids(5, 6)).loss
    loss.backward()
    missing = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert loss.item() > 0 and not missing


GOLDEN = Path(__file__).parent / "fixtures" / "golden"


@pytest.mark.parametrize("name", ["cvpr/c06_train", "v1/r03_train_resnet", "mmseg/m06_train_swin"])
def test_batches_give_the_golden_losses(name: str) -> None:
    folder = GOLDEN / name
    case = json.loads((folder / "case.json").read_text())
    inputs = load_file(folder / "inputs.safetensors")
    num_templates = case["config"].get("prompt_channel") or len(case["config"]["templates"])
    options = golden.conversion_options(case, golden.code_base_of(folder), num_templates)
    model_folder, _ = golden.converted((folder / case["weights"]).resolve(), options)
    model = CatSegForSemanticSegmentation.from_pretrained(model_folder).train()
    processor, prepared = golden.processor_inputs(model_folder, case, inputs)
    images = [value for key, value in sorted(inputs.items()) if re.fullmatch(r"image\d+", key)]
    repeat = case.get("image_repeat", 1)
    samples = [
        {
            "pixels": image.repeat_interleave(repeat, -2).repeat_interleave(repeat, -1).permute(1, 2, 0).numpy(),
            "labels": labels.numpy(),
        }
        for image, labels in zip(images, prepared["labels"], strict=True)
    ]
    batch = Collator(processor)(samples)
    assert batch.keys() == prepared.keys()
    with torch.no_grad():
        input_ids = golden.class_prompts(inputs, len(case["classes"]), num_templates)
        loss = model(**batch, input_ids=input_ids).loss.item()
    assert loss == pytest.approx(case["loss"], abs=golden.LOSS_TOLERANCE)
