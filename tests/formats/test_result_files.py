# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Annotations as files of `catseg segment`: of a photo, of a folder, after an interruption, and over several runs."""

import json
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import yaml
from PIL import Image

from catseg_hf.formats import ANNOTATION_FORMATS, AnnotationOptions, ResultFiles, find_format
from catseg_hf.formats.labelme import to_labelme
from catseg_hf.scenes import draw_scene
from catseg_hf.segmenting import Segmentation
from tests.child_processes import interrupt, started


pytest.importorskip("shapely", reason='annotations need `pip install "catseg-hf[annotate]"`')

from pycocotools.coco import COCO


ROOT = Path(__file__).parents[2]
Run = Callable[..., tuple[int, str, str]]
WORDS = "something red, a star, ground"
NAMES = WORDS.split(", ")
ALL_FORMATS = [part for kind in ("coco", "yolo", "label-studio", "cvat", "geojson") for part in ("--format", kind)]


@pytest.fixture
def catseg(catseg: Run) -> Run:
    """Runs `catseg segment` with catseg-tiny."""
    return lambda *arguments, labels=WORDS: catseg("segment", *arguments, "--model", "tiny", "--labels", labels)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three drawn scenes, one of them in a subfolder."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b c.png", "more/a.png")):
        draw_scene(number, 96 + 16 * number).image.save(folder / name)
    return folder


def files_in(folder: Path) -> set[str]:
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if path.parts[0] != ".catseg"}


def label_maps(folder: Path) -> dict[str, np.ndarray]:
    return {
        path.relative_to(folder).as_posix().removesuffix(".labels.png"): np.asarray(Image.open(path))
        for path in folder.rglob("*.labels.png")
    }


def coco_maps(path: Path) -> dict[str, np.ndarray]:
    coco = COCO(path)
    maps = {}
    for image in coco.loadImgs(coco.getImgIds()):
        ids = np.full((image["height"], image["width"]), 255)
        for annotation in coco.loadAnns(coco.getAnnIds(image["id"])):
            ids[coco.annToMask(annotation).astype(bool)] = annotation["category_id"] - 1
        maps[image["file_name"].removesuffix(".png")] = ids
    return maps


def segmentation(name: str, labels: list[str], class_id: int = 0) -> Segmentation:
    return Segmentation(name, Image.new("RGB", (6, 4)), labels, np.full((4, 6), class_id), np.ones((4, 6)))


# ---- folders --------------------------------------------------------------------------------------------------------


def test_a_folder_becomes_one_file_where_the_format_has_that(catseg: Run, photos: Path, tmp_path: Path) -> None:
    code, printed, errors = catseg("photos", "--output", "out", *ALL_FORMATS, "--format", "label-map")
    assert code == 0, errors
    assert printed == "Wrote the results of 3 photos to out\n"
    stems = ("a", "b c", "more/a")
    assert files_in(tmp_path / "out") == {
        *("annotations.json", "annotations.xml", "tasks.json", "tasks.xml", "data.yaml"),
        *(f"{stem}.geojson" for stem in stems),
        *(f"labels/{stem}.txt" for stem in stems),
        *(f"{stem}.labels.png" for stem in stems),
    }
    expected, found = label_maps(tmp_path / "out"), coco_maps(tmp_path / "out" / "annotations.json")
    assert expected.keys() == found.keys() == {*stems}
    for stem in stems:
        np.testing.assert_array_equal(found[stem], expected[stem])

    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    address = "/data/local-files/?d=" + quote((photos / "b c.png").resolve().as_posix()[1:])
    assert tasks[1]["data"]["image"] == address
    images = ElementTree.parse(tmp_path / "out" / "annotations.xml").findall("image")
    assert [image.get("name") for image in images] == ["a.png", "b c.png", "more/a.png"]
    assert yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())["names"] == dict(enumerate(NAMES))


def test_a_folder_of_one_photo(catseg: Run, photos: Path, tmp_path: Path) -> None:
    code, printed, errors = catseg("photos/more", "--output", "out", "--format", "coco", "--format", "geojson")
    assert code == 0, errors
    assert printed.splitlines()[-2:] == ["Wrote out/annotations.json", "Wrote out/a.geojson"]


def test_another_run_adds_to_the_files(catseg: Run, photos: Path, tmp_path: Path) -> None:
    for names in (("photos/a.png", "photos/absent.png"), ("photos/b c.png", "photos/absent.png")):
        code, _, errors = catseg(*names, "--output", "out", *ALL_FORMATS, "--image-url", "https://example.org/p/")
        assert code == 1 and "photos/absent.png: there is no such file" in errors
    assert coco_maps(tmp_path / "out" / "annotations.json").keys() == {"a", "b c"}
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    addresses = [task["data"]["image"] for task in tasks]
    assert addresses == ["https://example.org/p/a.png", "https://example.org/p/b%20c.png"]
    assert len(ElementTree.parse(tmp_path / "out" / "annotations.xml").findall("image")) == 2


def test_what_is_there_is_skipped_and_still_in_the_files(catseg: Run, photos: Path, tmp_path: Path) -> None:
    assert catseg("photos", "--output", "out", *ALL_FORMATS)[0] == 0
    before = {name: (tmp_path / "out" / name).read_bytes() for name in files_in(tmp_path / "out")}
    # As after an interruption: a photo is missing, and so are the files of all.
    piece = tmp_path / "out" / ".catseg" / "coco" / "more" / "a.piece"
    piece.rename(piece.with_name(".unfinished-1-a.piece"))
    for name in ("annotations.json", "tasks.json", "annotations.xml", "data.yaml"):
        (tmp_path / "out" / name).unlink()
    code, printed, _ = catseg("photos", "--output", "out", *ALL_FORMATS, "--skip-existing")
    assert code == 0 and printed == "Wrote the results of 1 photo to out, 2 were there already\n"
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files_in(tmp_path / "out")} == before
    (tmp_path / "out" / "annotations.json").unlink()
    assert catseg("photos", "--output", "out", *ALL_FORMATS, "--skip-existing")[0] == 0
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files_in(tmp_path / "out")} == before


def test_annotations_of_other_classes_are_not_mixed(tmp_path: Path) -> None:
    def run(kind: str, labels: list[str], stem: str, shapes: str = "polygons", goes_on: bool = False) -> None:
        format = find_format(kind)
        files = ResultFiles([format], AnnotationOptions(shapes=shapes), tmp_path, goes_on=goes_on)
        files.write(segmentation(f"{stem}.png", labels), {format: format.target(tmp_path, Path(stem))})
        files.finish()

    run("coco", ["x", "y"], "one")
    message = re.escape("format coco that do not go together with these: polygons of 2 classes (x, y). Name another")
    with pytest.raises(ValueError, match=message):
        run("coco", ["y", "x"], "two", goes_on=True)
    with pytest.raises(ValueError, match=message):
        run("coco", ["x", "y"], "two", shapes="rle", goes_on=True)
    run("coco", ["x", "y"], "two", goes_on=True)
    assert coco_maps(tmp_path / "annotations.json").keys() == {"one", "two"}
    # Whoever does not go on begins anew.
    run("coco", ["z"], "three")
    assert coco_maps(tmp_path / "annotations.json").keys() == {"three"}
    assert [each["name"] for each in json.loads((tmp_path / "annotations.json").read_text())["categories"]] == ["z"]
    # Files of YOLO may have been corrected by hand: nothing is removed.
    run("yolo", ["x", "y"], "one")
    with pytest.raises(ValueError, match="format yolo that do not go together"):
        run("yolo", ["z"], "two")
    assert files_in(tmp_path / "labels") == {"one.txt"}


@pytest.mark.slow
def test_interrupted_it_goes_on_and_the_files_are_whole(photos: Path, tmp_path: Path) -> None:
    for number in range(300):
        (photos / f"{number:03d}.png").symlink_to(photos / "a.png")
    command = [sys.executable, "-m", "catseg_hf.cli", "segment", "photos", "--labels", "ground", "--model", "tiny"]
    command += ["--format", "coco", "--output", "out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with started(command, cwd=tmp_path, env=environment) as process:
        while process.poll() is None and len(list(tmp_path.glob("out/.catseg/coco/[!.]*"))) < 3:
            time.sleep(0.01)
        _, errors = interrupt(process)
    assert process.returncode == 130 and "--skip-existing" in errors, errors
    assert not (tmp_path / "out" / "annotations.json").exists()
    pieces = list(tmp_path.glob("out/.catseg/coco/*"))
    assert 3 <= len(pieces) < 303 and all(json.loads(path.read_text())["categories"] for path in pieces)
    for path in photos.glob("[0-9]*.png"):
        path.unlink()
    result = subprocess.run(
        [*command, "--skip-existing"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert len(COCO(tmp_path / "out" / "annotations.json").imgs) >= 3


def test_photos_of_equal_names_from_two_folders_have_their_own(catseg: Run, photos: Path, tmp_path: Path) -> None:
    formats = ("--format", "coco", "--format", "yolo", "--format", "label-map")
    code, _, errors = catseg("photos", "photos/more", "--output", "out", *formats)
    assert code == 0, errors
    assert files_in(tmp_path / "out") >= {"a.labels.png", "more/a.labels.png", "labels/more/a.txt"}
    (photos / "more").rename(tmp_path / "more")
    code, _, errors = catseg("photos", "more", "--output", "two", *formats)
    assert code == 0, errors
    stems = {"photos/a", "photos/b c", "more/a"}
    assert {f"labels/{stem}.txt" for stem in stems} < files_in(tmp_path / "two")
    expected, found = label_maps(tmp_path / "two"), coco_maps(tmp_path / "two" / "annotations.json")
    assert expected.keys() == found.keys() == stems
    for stem in stems:
        np.testing.assert_array_equal(found[stem], expected[stem])


def test_a_photo_called_like_the_file_of_all_is_named(catseg: Run, photos: Path, tmp_path: Path) -> None:
    (photos / "a.png").rename(photos / "annotations.png")
    code, _, errors = catseg("photos", "--output", "out", "--format", "coco", "--format", "json")
    assert code == 1 and "photos/annotations.png: its results would replace those of all photos" in errors
    assert {"b c.json", "more/a.json", "annotations.json"} == files_in(tmp_path / "out")


# ---- one photo ------------------------------------------------------------------------------------------------------


def test_a_photo_becomes_a_file(catseg: Run, photos: Path, tmp_path: Path) -> None:
    code, printed, errors = catseg("photos/b c.png", *ALL_FORMATS, "--format", "label-map")
    assert code == 0, errors
    assert files_in(tmp_path) - files_in(photos.parent / "photos") >= {
        *("annotations.json", "annotations.yolo/labels/b c.txt", "annotations.yolo/data.yaml"),
        *("annotations.tasks.json", "annotations.tasks.xml", "annotations.cvat.xml", "annotations.geojson"),
    }
    assert printed.count("Wrote ") == 6
    (expected,) = label_maps(tmp_path).values()
    np.testing.assert_array_equal(coco_maps(tmp_path / "annotations.json")["b c"], expected)
    assert len(json.loads((tmp_path / "annotations.tasks.json").read_text())) == 1
    assert ElementTree.parse(tmp_path / "annotations.cvat.xml").findall("image")[0].get("name") == "b c.png"
    assert not (tmp_path / ".catseg").exists()


def test_the_folder_of_yolo_for_one_photo(catseg: Run, photos: Path, tmp_path: Path) -> None:
    assert catseg("photos/a.png", "--format", "yolo")[0] == 0
    assert files_in(tmp_path / "yolo") == {"labels/a.txt", "data.yaml"}
    assert catseg("photos/a.png", "--format", "yolo", "--skip-existing")[:2] == (0, "yolo was there already\n")


def test_options_reach_the_annotations(catseg: Run, photos: Path, tmp_path: Path) -> None:
    def annotations(*options: object) -> list[dict]:
        code, _, errors = catseg("photos/a.png", "--format", "coco", *options)
        assert code == 0, errors
        return json.loads((tmp_path / "annotations.json").read_text())["annotations"]

    exact = annotations()
    assert all(0 <= each["score"] <= 1 for each in exact)
    assert len(str(annotations("--simplify", 2))) < 0.7 * len(str(exact))
    assert isinstance(annotations("--shapes", "rle")[0]["segmentation"], dict)
    assert len(annotations("--each", "class")) == len({each["category_id"] for each in exact})
    largest = max(each["area"] for each in exact)
    assert [each["area"] for each in annotations("--min-area", int(largest))] == [96 * 96] or largest < 96 * 96
    assert sum(each["area"] for each in annotations("--fill-holes")) > sum(each["area"] for each in exact)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--simplify", "2", "--each", "class"], "--simplify, --each: without effect on overlay; give a --format of"),
        (["--format", "coco", "--image-url", "x"], "--image-url is for --format label-studio"),
        (["--format", "yolo", "--shapes", "rle"], "The format yolo holds polygons of each part, but no rle of each"),
        (["--format", "yolo", "--output", "photos/a.png"], "is a file: labels of YOLO go into a folder"),
        (["--format", "coco", "--output", "photos"], "--output photos is a folder: name a file in it"),
    ],
)
def test_errors_are_one_message(arguments: list[str], message: str, catseg: Run, photos: Path, tmp_path: Path) -> None:
    before = files_in(tmp_path)
    code, printed, errors = catseg("photos/a.png", *arguments)
    assert code == 1 and not printed and errors.startswith("Error: ") and message in errors
    assert files_in(tmp_path) == before


def test_without_the_libraries_the_error_says_what_to_install(
    catseg: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "catseg_hf.formats.shapes", raising=False)
    monkeypatch.setitem(sys.modules, "shapely", None)
    code, _, errors = catseg("photos/a.png", "--format", "coco")
    assert code == 1 and errors == ('Error: Annotations need further libraries: `pip install "catseg-hf[annotate]"`.\n')


def test_methods_give_what_files_hold(catseg: Run, photos: Path, tmp_path: Path) -> None:
    ids = np.zeros((4, 6), dtype=int)
    ids[1:3, 2:4] = 1
    result = Segmentation("photos/a.png", Image.new("RGB", (6, 4)), ["x", ["y", "z"]], ids)
    options = AnnotationOptions(fill_holes=True)
    contents = (
        ("coco", json.dumps(result.to_coco(options)) + "\n"),
        ("yolo", result.to_yolo(options)),
        ("label-studio", json.dumps(result.to_label_studio("https://example.org/a.png", options)) + "\n"),
        ("cvat", result.to_cvat(options)),
        ("geojson", json.dumps(result.to_geojson(options)) + "\n"),
        ("labelme", json.dumps(to_labelme(result.annotate(options), "../photos/a.png"), indent=2) + "\n"),
    )
    assert {kind for kind, _ in contents} == {each.name for each in ANNOTATION_FORMATS}
    for kind, content in contents:
        path, own = tmp_path / "labels" / f"{kind}.txt", options
        if kind == "label-studio":
            own = AnnotationOptions(fill_holes=True, image_url="https://example.org/")
        ResultFiles([find_format(kind)], own).write(result, {find_format(kind): path})
        assert path.read_text() == content and "y, z" in content or kind == "yolo"
