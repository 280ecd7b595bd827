# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""HEIC, as iPhones write it, wherever pictures are read; and what is said where pillow-heif is missing."""

import pickle
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from transformers import pipeline

from catseg_hf import TINY, CatSegProcessor
from catseg_hf.datasets import load_folder
from catseg_hf.datasets.files import read_image
from catseg_hf.image_reading_catseg import TooManyPixelsError, open_picture
from catseg_hf.scenes import draw_scene
from catseg_hf.segmenting.photo_reading import decode_photo, name_and_picture, read_photo


pillow_heif = pytest.importorskip("pillow_heif", reason='needs the extra "heif"')

LABELS = ("--labels", "something red,something yellow,ground", "--model", "tiny")
INSTALL = r'which needs pillow-heif: `pip install "catseg-hf\[heif\]"`\.'
Run = Callable[..., tuple[int, str, str]]


def write_heic(path: Path | BytesIO, picture: PIL.Image.Image, **options: object) -> None:
    """Without losses, so that what is read can be compared."""
    pillow_heif.from_pillow(picture).save(path, quality=-1, chroma=444, matrix_coefficients=0, **options)


@pytest.fixture
def scene() -> PIL.Image.Image:
    return draw_scene(1, 96).image.crop((0, 0, 96, 64))


def is_near(picture: PIL.Image.Image, expected: PIL.Image.Image) -> bool:
    return picture.size == expected.size and int(np.abs(np.subtract(picture, expected, dtype=int)).max()) <= 2


def test_a_folder_of_a_phone_is_segmented(catseg: Run, scene: PIL.Image.Image, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    write_heic(photos / "a.HEIC", scene)
    write_heic(photos / "b.jpg", scene)  # a messenger's name
    scene.save(photos / "c.heic", "JPEG", quality=95)
    scene.save(photos / "d.png")
    code, printed, errors = catseg("segment", "photos", *LABELS, "--format", "label-map", "--output", "out")
    assert (code, printed) == (0, "Wrote the results of 4 photos to out\n"), errors
    maps = {path.name: np.asarray(PIL.Image.open(path)) for path in (tmp_path / "out").iterdir()}
    assert set(maps) == {f"{name}.labels.png" for name in "abcd"}
    agreement = {name: (found == maps["d.labels.png"]).mean() for name, found in maps.items()}
    assert min(agreement.values()) > 0.98, agreement


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_upright(orientation: int, scene: PIL.Image.Image, tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    write_heic(tmp_path / "a.heic", scene, exif=exif.tobytes())
    stored = BytesIO()
    scene.save(stored, "PNG", exif=exif)
    expected = PIL.ImageOps.exif_transpose(PIL.Image.open(stored)).convert("RGB")
    assert is_near(read_photo(str(tmp_path / "a.heic")), expected)


def test_transparent_places_are_white(scene: PIL.Image.Image) -> None:
    scene.putalpha(PIL.Image.new("L", scene.size, 0))
    file = BytesIO()
    write_heic(file, scene)
    file.seek(0)
    assert np.asarray(decode_photo(file, 10**6)).min() >= 254


def test_other_code_gets_no_opener(scene: PIL.Image.Image, tmp_path: Path) -> None:
    write_heic(tmp_path / "a.heic", scene)
    read_photo(str(tmp_path / "a.heic"))
    with pytest.raises(PIL.UnidentifiedImageError):
        PIL.Image.open(tmp_path / "a.heic")


def test_pixels_are_counted_before_they_are_decoded(
    scene: PIL.Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_heic(tmp_path / "a.heic", scene)

    def decode(image: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(pillow_heif.HeifImageFile, "load", decode)
    with (tmp_path / "a.heic").open("rb") as file, pytest.raises(TooManyPixelsError):
        decode_photo(file, 96 * 64 - 1)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 96 * 64 // 2 - 1)
    with pytest.raises(PIL.Image.DecompressionBombError, match=r"the HEIC image has more than 6,142 pixels"):
        open_picture(tmp_path / "a.heic")


@pytest.mark.parametrize("size", [40, 300, 1000])
def test_files_that_are_cut_off_are_named(size: int, catseg: Run, scene: PIL.Image.Image, tmp_path: Path) -> None:
    write_heic(tmp_path / "whole.heic", scene)
    (tmp_path / "a.heic").write_bytes((tmp_path / "whole.heic").read_bytes()[:size])
    code, _, errors = catseg("segment", "a.heic", *LABELS)
    assert code == 1 and "a.heic: cannot be read as a picture: " in errors and "pip" not in errors, errors
    with pytest.raises(OSError, match=r"a\.heic cannot be read as an image, it may be damaged"):
        read_image(tmp_path / "a.heic")


def test_pipelines_and_processors_read_paths(scene: PIL.Image.Image, tmp_path: Path) -> None:
    write_heic(tmp_path / "a.heic", scene)
    exact = PIL.Image.fromarray(np.asarray(read_photo(str(tmp_path / "a.heic"))))
    segment = pipeline("image-segmentation", model=TINY)
    found, expected = (segment(image, candidate_labels="star, ground") for image in (tmp_path / "a.heic", exact))
    assert [(each["label"], each["mask"].tobytes()) for each in found] == [
        (each["label"], each["mask"].tobytes()) for each in expected
    ]
    processor = CatSegProcessor.from_pretrained(TINY)
    found, expected = (processor(images=image)["pixel_values"] for image in (str(tmp_path / "a.heic"), exact))
    assert found.equal(expected)


def test_data_sets_take_them(scene: PIL.Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    write_heic(tmp_path / "images" / "a.HEIC", scene)
    scene.save(tmp_path / "images" / "b.heif", "JPEG")
    for name in "ab":
        PIL.Image.new("L", scene.size).save(tmp_path / "labels" / f"{name}.png")
    dataset = load_folder(tmp_path / "images", tmp_path / "labels", ["scene"])
    assert [sample.name for sample in dataset] == ["a", "b"] and dataset.warnings == []
    # Data loaders send samples from one process to another.
    assert is_near(pickle.loads(pickle.dumps(dataset[0])).image, scene)

    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    dataset = load_folder(tmp_path / "images", tmp_path / "labels", ["scene"])
    assert [sample.name for sample in dataset] == ["b"]
    assert dataset.warnings == [
        '1 photo(s) left out, HEIC: a.HEIC; `pip install "catseg-hf[heif]"`, or save it as JPEG or PNG.'
    ]


def test_without_pillow_heif_the_line_that_installs_it_is_said(
    catseg: Run, scene: PIL.Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    path = tmp_path / "photos" / "a.heic"
    write_heic(path, scene)
    scene.save(tmp_path / "photos" / "b.heic", "JPEG")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    code, printed, errors = catseg("segment", "photos", *LABELS)
    assert code == 1 and "Wrote the results of 1 photo to segmented" in printed
    assert (
        f"{Path('photos/a.heic')}: cannot be read as a picture: it is HEIC, which needs pillow-heif: `pip install "
        '"catseg-hf[heif]"`.' in errors
    )
    with pytest.raises(OSError, match=r"a\.heic cannot be read as a picture: it is HEIC, " + INSTALL):
        name_and_picture(path)
    with pytest.raises(OSError, match=r"a\.heic cannot be read as an image, since it is HEIC; `pip install"):
        read_image(path)
    with pytest.raises(ImportError, match=r"a\.heic is HEIC, " + INSTALL):
        CatSegProcessor.from_pretrained(TINY)(images=str(path))
    with pytest.raises(ImportError, match=r"a\.heic is HEIC, " + INSTALL):
        pipeline("image-segmentation", model=TINY)(path, candidate_labels="star, ground")


def test_the_service_checks_them_before_they_are_decoded(scene: PIL.Image.Image) -> None:
    pytest.importorskip("ray", reason='needs the extra "serve"')
    from catseg_hf.service.errors import ServiceError
    from catseg_hf.service.segment_request import check_photo
    from catseg_hf.service.settings import ServiceSettings

    file = BytesIO()
    write_heic(file, scene)
    check_photo(file.getvalue(), ServiceSettings(model="tiny"))
    with pytest.raises(ServiceError, match="more than 100 pixels"):
        check_photo(file.getvalue(), ServiceSettings(model="tiny", max_photo_pixels=100))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pillow_heif", None)
        with pytest.raises(ServiceError, match="is HEIC, which this service does not read: send JPEG or PNG"):
            check_photo(file.getvalue(), ServiceSettings(model="tiny"))
