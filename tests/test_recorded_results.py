# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Every file that `catseg segment` writes is what it was when `fixtures/recorded_results.json` was recorded.

The network does not decide, since processors round differently: logits are made from the pixels in a plain way, far
from ties. All else is real. `python tests/test_recorded_results.py --record` records anew what is meant to change.
"""

import contextlib
import hashlib
import io
import json
import re
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import torch
from PIL import Image

from catseg_hf import CatSegForSemanticSegmentation
from catseg_hf.cli import main
from catseg_hf.modeling_catseg import CatSegSemanticSegmenterOutput


RECORDED = Path(__file__).parent / "fixtures" / "recorded_results.json"
COLORS = ((220, 40, 30), (30, 200, 60), (40, 60, 230))
LABELS = ("--labels", "something red,something green,something blue,ground")
ANNOTATIONS = ("coco", "yolo", "label-studio", "cvat", "geojson")
PICTURES = ("overlay", "label-map", "masks", "rle", "json")
# What a processor may do to logits by its rounding, and more.
ROUNDING = (1e-6, -1e-6)
# Means over many pixels, which processors sum up in different orders.
SCORE = re.compile(rb'"score": ([^,}\s]+)')


@dataclass(frozen=True)
class Case:
    """Commands in a folder of their own; what each finds there besides, `add` has."""

    commands: tuple[tuple[str, ...], ...]
    add: tuple[tuple[str, ...], ...]
    needs: tuple[str, ...] = field(default=())


def formats(*kinds: str) -> tuple[str, ...]:
    return tuple(part for kind in kinds for part in ("--format", kind))


def one(*arguments: str, name: str = "photo.png", needs: tuple[str, ...] = ()) -> Case:
    return Case(((name, *LABELS, *arguments),), ((name,),), needs)


FOLDER = ("photos/a.png", "photos/more/a.png", "photos/two.bmp", "photos/two.png")
MORE = ("photos/b.png", "photos/more/z & é.png")
ALL_KINDS = formats(*PICTURES, "coco", "label-studio", "cvat", "geojson")
CASES = {
    "pictures and numbers of a photo": one(*formats(*PICTURES)),
    "annotations of a photo": one(*formats(*ANNOTATIONS), "--output", "new/found.json"),
    "yolo of a photo": one(*formats("yolo"), "--min-area", "40"),
    "run lengths of a photo": one(*formats("coco", "label-studio", "cvat"), "--shapes", "rle", "--fill-holes"),
    "one annotation for each class": one(*formats("coco", "geojson"), "--each", "class", "--min-area", "150"),
    "threshold": one(*formats("label-map", "json", "coco", "masks", "geojson"), "--threshold", "0.55"),
    "threshold and background": one(
        *formats("overlay", "label-map", "rle", "yolo"), "--threshold", "0.55", "--background", "unknown"
    ),
    "labels from a file": Case(
        (("photo.png", "--labels-file", "labels.txt", *formats("json", "label-studio", "overlay")),),
        (("photo.png", "labels.txt"),),
    ),
    "the model's own labels": Case((("photo.png", *formats("json", "label-map")),), (("photo.png",),)),
    "a folder": Case((("photos", *LABELS, *ALL_KINDS),), (FOLDER,)),
    "a folder and a photo for training": Case(
        (
            (
                *("photos", "photo.png", *LABELS, *formats("yolo", "label-studio"), "--batch-size", "2"),
                *("--image-url", "https://photos.test/", "--output", "data", "--num-workers", "0"),
            ),
        ),
        ((*FOLDER, "photo.png"),),
    ),
    "a damaged photo among others": Case(
        (("photos", "gone.png", *LABELS, *formats("coco", "cvat")),), (("photos/a.png", "photos/damaged.png"),)
    ),
    "a folder that grows": Case(
        (("photos", *LABELS, *ALL_KINDS), ("photos", *LABELS, *ALL_KINDS, "--skip-existing")), (FOLDER, MORE)
    ),
    "other classes than before": Case(
        (
            ("photos", *LABELS, *formats("coco", "cvat", "label-studio")),
            ("photos", "--labels", "something red,ground", *formats("coco"), "--skip-existing"),
            ("photos", "--labels", "something red,ground", *formats("coco", "cvat")),
        ),
        (FOLDER, MORE, ()),
    ),
    "a video": one(*formats("label-map", "overlay"), "--every", "2", "--smooth", "0.7", name="clip.mkv", needs=("av",)),
    "a GeoTIFF": one(
        *("--native", *formats("overlay", "label-map", "geojson"), "--tile", "96"),
        name="field.tif",
        needs=("rasterio",),
    ),
    "a large image": one(
        *("--native", *formats("label-map", "overlay"), "--tile", "80", "--overlap", "0.4", "--batch-size", "3"),
        *("--threshold", "0.55", "--background", "unknown"),
        needs=("rasterio",),
    ),
}


# ---- what is segmented ----------------------------------------------------------------------------------------------


def picture(number: int, width: int, height: int) -> np.ndarray:
    """Discs and rings on grey, without a random number or a rounding."""
    y, x = np.mgrid[:height, :width]
    pixels = np.full((height, width, 3), 105, dtype=np.uint8)
    for index in range(7):
        center = (37 * number + 53 * index) % width, (61 * number + 29 * index * index) % height
        distance = (x - center[0]) ** 2 + (y - center[1]) ** 2
        radius = 7 + (11 * index + 5 * number) % 19
        pixels[(distance < radius**2) & (distance >= (radius // 2) ** 2 * (index % 2))] = COLORS[index % 3]
    return pixels


def write_video(path: Path) -> None:
    """Eight frames without loss, at times that vary."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "bgr0"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(8):
            part = np.ascontiguousarray(picture(3, 170, 120)[3 * number : 3 * number + 96, 5 * number :][:, :128])
            frame = av.VideoFrame.from_ndarray(part, format="rgb24")
            frame.pts, frame.time_base = 40 * number + 15 * (number % 3), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_geotiff(path: Path) -> None:
    """With a corner that holds no data."""
    import rasterio

    pixels = picture(5, 210, 160)
    pixels[:50, :70] = 0
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.5, 0, 500000, 0, -0.5, 5000000), "nodata": 0}
    size = {"driver": "GTiff", "width": 210, "height": 160, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", **size, **place) as file:
        file.write(np.moveaxis(pixels, -1, 0))


def add_input(folder: Path, name: str) -> None:
    """Writes what a case finds, by its name."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".mkv":
        write_video(path)
    elif path.suffix == ".tif":
        write_geotiff(path)
    elif path.suffix == ".txt":
        path.write_text('# mine\nsomething red | red thing\nsomething green\n"ground, far"\n')
    else:
        number = sum(name.encode())
        Image.fromarray(picture(number, 150 - number % 30, 110 + number % 20)).save(path)
    if path.stem == "damaged":
        path.write_bytes(path.read_bytes()[:400])


def plain_forward(shift: float = 0.0) -> Callable[..., CatSegSemanticSegmenterOutput]:
    """What takes the place of the network: classes by colour, in cells of 8 x 8 pixels of a view."""

    def forward(
        self: CatSegForSemanticSegmentation,
        pixel_values: torch.Tensor,
        text_embeds: torch.Tensor | None = None,
        **views: torch.Tensor | None,
    ) -> CatSegSemanticSegmenterOutput:
        num_classes = len(self.config.id2label) if text_embeds is None else len(text_embeds)
        means = torch.nn.functional.avg_pool2d(pixel_values.flatten(0, -4), 8).double()
        rows, columns = (torch.arange(length, dtype=torch.float64) for length in means.shape[-2:])
        logits = []
        for index in range(num_classes):
            # The fourth class is what is left: no channel stands out.
            values = means[:, index % 4] - means.mean(dim=1) if index % 4 < 3 else 0.61 - means.amax(dim=1)
            found = torch.where(values > 0.437 + 100 * shift, 2.13, -1.37)
            # No two classes meet in the middle between two pixels.
            slope = (0.0137 * rows[:, None] + 0.0071 * columns) * (0.31 + index % 5)
            logits.append(found - 0.0761 * index + 0.1 * slope + shift * (4, -2)[index % 2])
        stacked = torch.stack(logits, dim=1).float()
        return CatSegSemanticSegmenterOutput(
            logits=stacked.reshape(*pixel_values.shape[:-3], *stacked.shape[1:]), **views
        )

    return forward


# ---- what comes of it -----------------------------------------------------------------------------------------------


def content(path: Path, folder: Path) -> bytes:
    """What a file says, without what encoders of other versions and processors may do otherwise."""
    if path.suffix == ".png":
        with Image.open(path) as image:
            return repr((image.mode, image.size, sorted(image.text.items()))).encode() + image.tobytes()
    if path.suffix == ".tif":
        return of_tiff(path)
    if path.suffix == ".mp4":
        return of_video(path)
    # Label Studio's addresses of local files hold their whole path.
    text = path.read_bytes().replace(quote(folder.resolve().as_posix().lstrip("/")).encode(), b"FOLDER")
    return SCORE.sub(b"score", text)


def of_tiff(path: Path) -> bytes:
    import rasterio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            facts = [
                file.profile[name] for name in ("driver", "dtype", "nodata", "compress", "blockxsize", "blockysize")
            ]
            facts += [file.shape, sorted(file.colormap(1).items()), sorted(file.tags().items())]
            facts += [file.crs and file.crs.to_epsg(), tuple(file.transform)]
            return repr(facts).encode() + file.read().tobytes()


def of_video(path: Path) -> bytes:
    import av

    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        facts = [container.streams.video[0].codec_context.name, len(container.streams)]
        facts += [(frame.width, frame.height, str(frame.pts * frame.time_base)) for frame in frames]
        return repr(facts).encode()


def results(case: Case, folder: Path, shift: float = 0.0) -> dict[str, Any]:
    """Runs the commands; exit codes, what they said, a digest of each file that is there then, and its scores."""
    outcome: dict[str, Any] = {"said": [], "files": {}, "scores": {}}
    inputs = {folder / name for names in case.add for name in names}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(CatSegForSemanticSegmentation, "forward", plain_forward(shift))
        for command, names in zip(case.commands, case.add, strict=True):
            for name in names:
                add_input(folder, name)
            patch.setattr(sys, "argv", ["catseg", "segment", *command, "--model", "tiny", "--device", "cpu"])
            printed, errors = io.StringIO(), io.StringIO()
            with (
                contextlib.redirect_stdout(printed),
                contextlib.redirect_stderr(errors),
                pytest.raises(SystemExit) as end,
            ):
                main()
            error = errors.getvalue().partition("Error: ")[2]
            outcome["said"].append([end.value.code, *printed.getvalue().splitlines(), *error.splitlines()])
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path not in inputs:
            name = path.relative_to(folder).as_posix()
            outcome["files"][name] = hashlib.sha256(content(path, folder)).hexdigest()
            if path.suffix != ".png" and (scores := SCORE.findall(path.read_bytes())):
                outcome["scores"][name] = [float(score) for score in scores]
    return outcome


def test_there_is_a_record_of_each_case_and_it_holds_files() -> None:
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    assert recorded.keys() == CASES.keys()
    assert all(outcome["files"] for outcome in recorded.values())


@pytest.mark.parametrize("name", CASES)
def test_results_are_as_recorded(name: str, tmp_path: Path) -> None:
    for module in CASES[name].needs:
        pytest.importorskip(module)
    expected = json.loads(RECORDED.read_text(encoding="utf-8"))[name]
    found = results(CASES[name], tmp_path)
    assert found["said"] == expected["said"]
    assert found["files"] == expected["files"]
    assert found["scores"].keys() == expected["scores"].keys()
    for file, scores in expected["scores"].items():
        assert found["scores"][file] == pytest.approx(scores, abs=5e-6), file


def record() -> None:
    """Writes the results of all cases, if rounding does not change them."""
    recorded = {}
    for name, case in CASES.items():
        found = []
        for shift in (0.0, *ROUNDING):
            with tempfile.TemporaryDirectory() as folder:
                found.append(results(case, Path(folder), shift))
        different = [
            file for file, digest in found[0]["files"].items() if {each["files"][file] for each in found} != {digest}
        ]
        if different or any(each["said"] != found[0]["said"] for each in found):
            sys.exit(f"{name}: rounding decides about {different}: choose other numbers.")
        recorded[name] = found[0]
        print(f"{len(found[0]['files']):4} files  {name}")
    RECORDED.write_text(json.dumps(recorded, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["--record"]:
        sys.exit("Tests are run by pytest. `python tests/test_recorded_results.py --record` records results anew.")
    record()
