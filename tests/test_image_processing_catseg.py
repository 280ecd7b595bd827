# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The image processor: reading of images, geometry of views, merging of views.

Merging is compared with its plain definition here, and with golden values, which need a model, in `test_golden.py`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from transformers.utils import is_torchvision_available
from view_settings import MMSEG, SMALL

from catseg_hf.image_processing_catseg import CatSegImageProcessor, CatSegImageProcessorPil


GOLDEN = Path(__file__).parent / "fixtures" / "golden"
BACKBONE = {
    "backbone_size": 384,
    "backbone_image_mean": [123.675 / 255, 116.28 / 255, 103.53 / 255],
    "backbone_image_std": [58.395 / 255, 57.12 / 255, 57.375 / 255],
}


def random_array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def golden_cases() -> list[Any]:
    cases = [(path.parent, json.loads(path.read_text(encoding="utf-8"))) for path in GOLDEN.glob("*/*/case.json")]
    modes = ("eval", "eval_sliding", "slide")
    return [
        pytest.param(folder, case, id=folder.name) for folder, case in sorted(cases, key=str) if case["mode"] in modes
    ]


def load_golden_images(folder: Path, case: dict[str, Any]) -> list[torch.Tensor]:
    inputs = load_file(folder / "inputs.safetensors")
    repeat = case.get("image_repeat", 1)
    names = [name for name in sorted(inputs) if name.startswith("image")]
    return [inputs[name].repeat_interleave(repeat, 1).repeat_interleave(repeat, 2) for name in names]


def golden_processor(folder: Path, case: dict[str, Any]) -> CatSegImageProcessor:
    code_base = folder.parent.name
    options = {"image_size": case["config"]["clip_resolution"][0]}
    options |= BACKBONE if code_base in ("v1", "mmseg") else {}
    options |= MMSEG if code_base == "mmseg" else {}
    # The stored images have gone through the first resize already.
    return CatSegImageProcessor(**options, do_resize=False, pad_to_multiple=32 if case["mode"] == "eval" else None)


def subsample(tensor: torch.Tensor, info: dict[str, Any]) -> torch.Tensor:
    return tensor[tuple(slice(None, None, step) for step in info["stride"])]


# ---- golden values --------------------------------------------------------------------------------------------------


def test_golden_fixtures_are_there() -> None:
    found = {(case.values[0].parent.name, case.values[1]["mode"]) for case in golden_cases()}
    assert found >= {("cvpr", "eval"), ("cvpr", "eval_sliding"), ("v1", "eval_sliding"), ("mmseg", "slide")}


@pytest.mark.parametrize(("folder", "case"), golden_cases())
def test_golden_views(folder: Path, case: dict[str, Any]) -> None:
    expected = load_file(folder / "outputs.safetensors")
    inputs = golden_processor(folder, case)(load_golden_images(folder, case), return_tensors="pt")
    for ours, theirs in (("pixel_values", "clip_input"), ("backbone_pixel_values", "backbone_input")):
        assert (ours in inputs) == (theirs in expected)
        if ours in inputs:
            info = case["outputs"][theirs]
            # MMSegmentation's cases store the first window only.
            views = inputs[ours].flatten(0, -4)[: info["shape"][0]]
            torch.testing.assert_close(subsample(views, info), expected[theirs], atol=1e-5, rtol=0)


# ---- reading images -------------------------------------------------------------------------------------------------


def to_views(image: Any, **kwargs: Any) -> torch.Tensor:
    return CatSegImageProcessor(do_sliding_window=False, image_size=16)(image, return_tensors="pt", **kwargs)[
        "pixel_values"
    ]


def test_kinds_of_input_agree() -> None:
    array = random_array(20, 30, 3)
    expected = to_views(Image.fromarray(array))
    assert expected.shape == (1, 3, 16, 16) and expected.dtype == torch.float32
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    kinds = {
        "numpy": array,
        "numpy, channels first": array.transpose(2, 0, 1),
        "torch": tensor,
        "torch int64": tensor.long(),
        "float, 0 to 1": array / 255,
        "float32 torch, 0 to 1": tensor / 255,
        "float, 0 to 255": array.astype(np.float32),
        "uint16": array.astype(np.uint16) * 257,
        "list": [array],
        "nested list": [[Image.fromarray(array)]],
        "batch": tensor[None],
    }
    for kind, image in kinds.items():
        assert torch.equal(to_views(image), expected), kind


def test_files_are_read(tmp_path: Path) -> None:
    image = Image.fromarray(random_array(20, 30, 3))
    path = tmp_path / "image.png"
    image.save(path)
    assert torch.equal(to_views(str(path)), to_views(image))


def test_floats_are_not_rescaled_twice() -> None:
    array = random_array(20, 30, 3)
    assert torch.allclose(to_views(array / 255, do_rescale=False), to_views(array), atol=1e-5)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I;16", "I", "F", "PA"])
def test_pil_modes(mode: str) -> None:
    rgb = Image.new("RGB", (12, 10), (255, 255, 255))
    if mode in ("LA", "RGBA", "PA"):
        image = rgb.convert("RGBA")
        image.putalpha(0)
        image = image.convert("LA") if mode == "LA" else image
        image = rgb.convert("P").convert("PA") if mode == "PA" else image
    elif mode in ("I;16", "I"):
        image = Image.fromarray(np.full((10, 12), 65535, np.uint16 if mode == "I;16" else np.int32))
    elif mode == "F":
        image = Image.fromarray(np.ones((10, 12), np.float32))
    else:
        image = rgb.convert(mode)
    assert image.mode == mode
    assert torch.allclose(to_views(image), to_views(rgb), atol=0.02)  # one step of 255, for LAB


def test_transparency_is_laid_on_white() -> None:
    array = random_array(9, 8, 4)
    alpha = array[..., 3:] / 255.0
    expected = to_views(np.rint(array[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8), do_resize=False)
    assert torch.allclose(to_views(Image.fromarray(array), do_resize=False), expected, atol=0.02)
    assert torch.equal(to_views(Image.fromarray(array)), to_views(array))
    palette = Image.fromarray(array[..., 0]).convert("P")
    palette.info["transparency"] = bytes([0] * 256)
    assert torch.equal(to_views(palette), to_views(Image.new("RGB", (8, 9), "white")))


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    array = random_array(10, 24, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    path = tmp_path / "turned.png"
    Image.fromarray(array).save(path, exif=exif)
    with Image.open(path) as image:
        assert torch.equal(to_views(image), to_views(np.rot90(array, -1)))


@pytest.mark.parametrize("size", [(1, 1), (10, 4000), (4000, 10), (1, 5000)])
def test_extreme_sizes(size: tuple[int, int]) -> None:
    inputs = CatSegImageProcessor()(random_array(*size, 3), return_tensors="pt")
    assert inputs.pixel_values.shape == (1, 5, 3, 384, 384)
    assert torch.isfinite(inputs.pixel_values).all()
    assert to_views(random_array(*size, 3)).shape == (1, 3, 16, 16)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ([], "empty"),
        (np.zeros((0, 4, 3), np.uint8), "empty image"),
        (np.zeros((5, 5, 2), np.uint8), "channels"),
        (np.zeros((3, 9, 3), np.uint8), "input_data_format"),
        (np.zeros(5, np.uint8), "dimensions"),
        (np.full((4, 5, 3), np.nan), "nan"),
        (np.full((4, 5, 3), -1.0), "before any normalisation"),
        (np.full((4, 5, 3), 300.0), "0 to 255"),
        (np.full((4, 5, 3), 70000), "65535"),
        (Image.new("La", (4, 4)), "La"),
        (np.zeros((1100, 1000, 3), np.uint8), "max_pixels"),
        (Image.new("1", (1100, 1000)), "max_pixels"),
    ],
)
def test_bad_images_are_refused(image: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CatSegImageProcessor(max_pixels=10**6)(image, return_tensors="pt")


@pytest.mark.parametrize("image", [None, 5, {"image": 1}, [3.0], np.zeros((4, 5, 3), complex)])
def test_other_types_are_refused(image: Any) -> None:
    with pytest.raises(TypeError, match="`images`"):
        CatSegImageProcessor()(image, return_tensors="pt")


def test_large_files_are_refused_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "truncated.png"
    Image.new("1", (2000, 1000)).save(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match="max_pixels"):
        CatSegImageProcessor(max_pixels=10**6)(str(path), return_tensors="pt")


# ---- geometry -------------------------------------------------------------------------------------------------------


def test_views_of_the_original() -> None:
    """Shortest edge to 640, squash to 640 x 640, four windows of 384, the whole image; normalised, then resized."""
    image = Image.fromarray(random_array(90, 150, 3))
    inputs = CatSegImageProcessor(image_size=336)(image, return_tensors="pt")
    resized = np.asarray(image.resize((1067, 640), Image.Resampling.BILINEAR))
    resized = torch.tensor(resized).permute(2, 0, 1)[None].float()
    squashed = F.interpolate(resized, size=(640, 640), mode="bilinear")
    views = [squashed[..., top : top + 384, left : left + 384] for top in (0, 256) for left in (0, 256)]
    views.append(F.interpolate(resized, size=(384, 384), mode="bilinear"))
    mean = torch.tensor([122.7709383, 116.7460125, 104.09373615])[:, None, None]
    std = torch.tensor([68.5005327, 66.6321579, 70.3231630])[:, None, None]
    expected = F.interpolate((torch.cat(views) - mean) / std, size=(336, 336), mode="bilinear")
    torch.testing.assert_close(inputs.pixel_values[0], expected, atol=1e-5, rtol=0)
    boxes = [[0, 0, 384, 384], [0, 256, 384, 640], [256, 0, 640, 384], [256, 256, 640, 640], [0, 0, 640, 640]]
    assert inputs.view_boxes[0].tolist() == boxes and inputs.view_boxes.dtype == torch.int64
    assert inputs.resized_sizes.tolist() == [[640, 640]]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (640, 853)),
        ((640, 480), (853, 640)),
        ((333, 500), (640, 961)),
        ((500, 500), (640, 640)),
        ((10, 4000), (6, 2560)),
        ((1, 100000), (1, 2560)),
        ((1, 1), (640, 640)),
    ],
)
def test_first_resize_rounds_as_detectron2(size: tuple[int, int], expected: tuple[int, int]) -> None:
    processor = CatSegImageProcessor(do_squash=False, window=4000, stride=4000, image_size=2, global_view=False)
    inputs = processor(Image.new("RGB", size[::-1]), return_tensors="pt")
    assert tuple(inputs.resized_sizes[0].tolist()) == expected


def test_windows_of_mmsegmentation() -> None:
    """No squash, windows side by side, the last of each row and column shifted back; unequal numbers are filled up."""
    processor = CatSegImageProcessor(**MMSEG, do_resize=False)
    large, small = random_array(400, 800, 3), random_array(100, 200, 3, seed=1)
    inputs = processor([large, small], return_tensors="pt")
    assert inputs.resized_sizes.tolist() == [[400, 800], [100, 200]]
    assert inputs.view_boxes[0].tolist() == [
        [top, left, top + 384, left + 384] for top in (0, 16) for left in (0, 384, 416)
    ]
    assert inputs.view_boxes[1].tolist() == [[0, 0, 100, 200]] + [[0, 0, 0, 0]] * 5
    assert not inputs.pixel_values[1, 1:].any()
    for image, row in ((large, 0), (small, 1)):
        alone = processor(image, return_tensors="pt")
        views = alone.pixel_values.shape[1]
        assert torch.equal(alone.pixel_values[0], inputs.pixel_values[row, :views])


@pytest.mark.parametrize("options", [{}, {"window": 300, "stride": 100}, {"size": 200}, {"stride": 383}])
def test_windows_cover_everything(options: dict[str, Any]) -> None:
    inputs = CatSegImageProcessor(image_size=8, **options)(Image.new("RGB", (30, 20)), return_tensors="pt")
    height, width = inputs.resized_sizes[0].tolist()
    covered = torch.zeros(height, width)
    for top, left, bottom, right in inputs.view_boxes[0, :-1].tolist():
        covered[top:bottom, left:right] = 1
    assert covered.all()
    assert inputs.view_boxes[0, -1].tolist() == [0, 0, height, width]


def test_padding_of_the_original() -> None:
    """Normalised, padded with zeros to the largest image of the batch, rounded up to a multiple of 32, squashed."""
    images = [random_array(40, 70, 3), random_array(50, 20, 3, seed=1)]
    processor = CatSegImageProcessor(image_size=48)
    inputs = processor(images, do_resize=False, pad_to_multiple=32, return_tensors="pt")
    assert set(inputs) == {"pixel_values"}
    for image, pixel_values in zip(images, inputs.pixel_values, strict=True):
        normalized = torch.tensor(image).permute(2, 0, 1) / 255
        normalized = (normalized - torch.tensor(processor.image_mean)[:, None, None]) / torch.tensor(
            processor.image_std
        )[:, None, None]
        padded = F.pad(normalized, (0, 96 - image.shape[1], 0, 64 - image.shape[0]))
        expected = F.interpolate(padded[None], size=(48, 48), mode="bilinear")[0]
        torch.testing.assert_close(pixel_values, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", [{}, {"do_sliding_window": False}])
def test_backbone_views(options: dict[str, Any]) -> None:
    image = random_array(60, 80, 3)
    inputs = CatSegImageProcessor(**SMALL, backbone_size=24, backbone_image_mean=[0.5] * 3, backbone_image_std=0.25)(
        image, return_tensors="pt", **options
    )
    mean, std = (
        torch.tensor(values)[:, None, None]
        for values in (CatSegImageProcessor.image_mean, CatSegImageProcessor.image_std)
    )
    expected = (inputs.pixel_values * std + mean - 0.5) / 0.25
    torch.testing.assert_close(inputs.backbone_pixel_values, expected, atol=1e-4, rtol=0)


def test_a_batch_equals_its_images() -> None:
    processor = CatSegImageProcessor(**SMALL)
    images = [random_array(30, 50, 3), random_array(80, 41, 3, seed=1)]
    together = processor(images, return_tensors="pt")
    for index, image in enumerate(images):
        alone = processor(image, return_tensors="pt")
        assert all(torch.equal(together[name][index], alone[name][0]) for name in together)


def test_return_types() -> None:
    processor = CatSegImageProcessor(**SMALL)
    image = random_array(30, 50, 3)
    expected = processor(image, return_tensors="pt")
    arrays, lists = processor(image, return_tensors="np"), processor(image)
    for name, values in expected.items():
        assert isinstance(arrays[name], np.ndarray) and np.array_equal(arrays[name], values.numpy())
        assert isinstance(lists[name], list) and torch.equal(lists[name][0], values[0])


def test_rescaling_and_normalisation_can_be_left_out() -> None:
    image = np.full((20, 20, 3), 51, np.uint8)
    raw = to_views(image, do_rescale=False, do_normalize=False)
    assert torch.equal(raw, torch.full_like(raw, 51.0))
    assert torch.allclose(to_views(image, do_normalize=False), torch.full_like(raw, 0.2))
    assert torch.allclose(to_views(image, image_mean=0.0, image_std=0.5), torch.full_like(raw, 0.4))


# ---- segmentation maps ----------------------------------------------------------------------------------------------


def test_segmentation_maps_keep_their_ids() -> None:
    ids = np.arange(12).reshape(3, 4) * 5000  # over 16 bits signed
    maps = np.kron(ids, np.ones((8, 8), np.int64)).astype(np.int32)
    processor = CatSegImageProcessor(do_sliding_window=False, image_size=24)
    image = Image.new("RGB", (32, 24))
    for kind in (maps, torch.from_numpy(maps), [maps], maps[None], Image.fromarray(maps), maps.astype(np.float64)):
        labels = processor(image, kind, return_tensors="pt").labels
        assert labels.shape == (1, 24, 24) and labels.dtype == torch.int64
        assert torch.equal(labels[0], torch.from_numpy(np.kron(ids, np.ones((8, 6), np.int64))))
    palette = Image.fromarray((maps // 5000).astype(np.uint8)).convert("P")
    palette.putpalette([7] * 768)
    assert torch.equal(processor(image, palette, return_tensors="pt").labels[0].unique(), torch.arange(12))


def test_padded_segmentation_maps() -> None:
    processor = CatSegImageProcessor(do_resize=False, pad_to_multiple=32, image_size=64)
    labels = processor(np.zeros((32, 48, 3), np.uint8), np.ones((32, 48), np.uint8), return_tensors="pt").labels[0]
    assert (labels[:, :48] == 1).all() and (labels[:, 48:] == 255).all()


def test_bad_segmentation_maps_are_refused() -> None:
    image, maps = np.zeros((9, 8, 3), np.uint8), np.zeros((9, 8), np.uint8)
    processor = CatSegImageProcessor(do_sliding_window=False)
    with pytest.raises(ValueError, match="do_sliding_window=False"):
        processor(image, maps, do_sliding_window=True)
    with pytest.raises(ValueError, match="2 maps for 1 images"):
        processor(image, [maps, maps])
    with pytest.raises(ValueError, match="9 x 7"):
        processor(image, maps[:, 1:])
    with pytest.raises(ValueError, match="not integers"):
        processor(image, maps + 0.5)
    with pytest.raises(ValueError, match="mode 'RGB'"):
        processor(image, Image.fromarray(image))


# ---- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "`window`"),
        ({"stride": 400}, "gaps"),
        ({"size": {"shortest_edge": 640}}, "`size`"),
        ({"shortest_edge": 3000}, "longest_edge"),
        ({"image_size": -1}, "`image_size`"),
        ({"pad_to_multiple": 0}, "`pad_to_multiple`"),
        ({"backbone_size": 384}, "backbone_image_mean"),
        ({"score_function": "tanh"}, "score_function"),
        ({"max_pixels": 0}, "`max_pixels`"),
        ({"do_center_crop": True, "crop_size": 4}, "do_center_crop"),
        ({"data_format": "channels_last"}, "data_format"),
        ({"image_mean": [0.5, 0.5]}, "`image_mean` must be three numbers"),
        ({"image_std": [0.5, 0.5, 0.0]}, "`image_std` must be three positive numbers"),
        ({"image_std": [0.5, 0.5, float("nan")]}, "`image_std`"),
        ({"rescale_factor": -1 / 255}, "`rescale_factor`"),
        ({"resample": True}, "`resample`"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CatSegImageProcessor(**options)
    with pytest.raises(ValueError, match=message):
        CatSegImageProcessor()(np.zeros((9, 8, 3), np.uint8), **options)


def test_wrong_types_are_refused() -> None:
    with pytest.raises(ValueError, match="'384'"):
        CatSegImageProcessor(window="384")
    with pytest.raises(TypeError, match="window"):
        CatSegImageProcessor()(np.zeros((9, 8, 3), np.uint8), window="384")


def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError, match="windows"):
        CatSegImageProcessor()(np.zeros((9, 8, 3), np.uint8), windows=4)


@pytest.mark.parametrize("options", [{}, SMALL, {**MMSEG, **BACKBONE}, {"do_resize": False, "pad_to_multiple": 32}])
def test_save_and_load(options: dict[str, Any], tmp_path: Path) -> None:
    processor = CatSegImageProcessor(**options)
    processor.save_pretrained(tmp_path)
    loaded = CatSegImageProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    image = random_array(30, 50, 3)
    before, after = processor(image, return_tensors="pt"), loaded(image, return_tensors="pt")
    assert all(torch.equal(before[name], after[name]) for name in before)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text(encoding="utf-8"))
    assert saved["image_processor_type"] == "CatSegImageProcessor"


def test_backends_agree() -> None:
    """Without torchvision both names are one class; its environment runs this test with two."""
    if not is_torchvision_available():
        assert CatSegImageProcessor is CatSegImageProcessorPil
        return
    assert CatSegImageProcessor is not CatSegImageProcessorPil
    images = [random_array(30, 50, 3), random_array(80, 41, 3, seed=1)]
    for options in (SMALL, {**MMSEG, **BACKBONE}, {"do_sliding_window": False}, {"pad_to_multiple": 32}):
        one = CatSegImageProcessor(**options)(images, return_tensors="pt")
        other = CatSegImageProcessorPil(**options)(images, return_tensors="pt")
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert CatSegImageProcessor().to_dict() == CatSegImageProcessorPil().to_dict()
