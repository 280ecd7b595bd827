# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The web page, driven in a real Chromium: what it shows is what the package draws, or one clear message."""

import io
import json
import os
import re
import runpy
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import ZipFile

import gradio as gr
import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from catseg_hf import TINY, CatSegForSemanticSegmentation, CatSegProcessor
from catseg_hf.app import web_page
from catseg_hf.app.page_model import PageModel, SegmentedPhoto
from catseg_hf.app.web_page import EXAMPLE_SEEDS, EXAMPLE_SIZE, build_page, start_page
from catseg_hf.cli import main
from catseg_hf.pictures import heat_map, overlay
from catseg_hf.scenes import GROUND, draw_scene
from catseg_hf.segmenting import NO_CLASS, Segmentation, photo_reading
from tests.child_processes import interrupt, started
from tests.chromium import TIMEOUT, chromium


ROOT = Path(__file__).parents[2]
LABELS = ["red", "something blue", "ground"]
Open = Callable[..., Page]
# Gradio's own calls of pandas.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module", autouse=True)
def pictures_in_a_folder_of_the_test(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        yield


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of the page for the tiny model."""
    page = build_page("tiny")
    yield start_page(page, "127.0.0.1", free_port())
    page.close(verbose=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(address: str, browser: Browser) -> Iterator[Open]:
    """Opens the page as a new visitor, who may see only this server and no error of a script."""
    contexts, urls, problems = [], [], []

    def visit(width: int = 1280, height: int = 900, **options: bool) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.set_default_timeout(TIMEOUT)
        context.on("request", lambda request: urls.append(request.url))
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(address)
        expect(page.get_by_role("button", name="Segment", exact=True)).to_be_visible()
        return page

    yield visit
    for context in contexts:
        context.close()
    assert {url for url in urls if not url.startswith((address, "data:", "blob:"))} == set()
    assert problems == []


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """Of 256 × 160 pixels."""
    return draw_scene(7).image.crop((0, 0, 256, 160))


@pytest.fixture(scope="module")
def network_runs() -> Iterator[list[int]]:
    """Gets an entry for each photo that goes through a network."""
    runs, forward = [], CatSegForSemanticSegmentation.forward

    def counted(self: CatSegForSemanticSegmentation, *args: object, **kwargs: object) -> object:
        runs.append(1)
        return forward(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CatSegForSemanticSegmentation, "forward", counted)
        yield runs


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


def upload(page: Page, content: bytes, name: str = "photo.png", kind: str = "image/png") -> None:
    page.locator("#photo input[type=file]").set_input_files([{"name": name, "mimeType": kind, "buffer": content}])
    expect(page.locator("#photo img")).to_have_count(1)


def ask(page: Page, labels: str) -> None:
    page.get_by_role("textbox", name="Labels").fill(labels)
    page.get_by_role("button", name="Segment", exact=True).click()


def downloaded(picture: Locator) -> np.ndarray:
    """The picture as it came from the server."""
    response = picture.page.request.get(picture.get_attribute("src"))
    return np.asarray(Image.open(io.BytesIO(response.body())))


def segmented(image: Image.Image, labels: list) -> tuple[Image.Image, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The photo at the page's size, class ids and scores of its pixels, and smaller score maps, by the package."""
    processor = CatSegProcessor.from_pretrained(TINY)
    model = CatSegForSemanticSegmentation.from_pretrained(TINY).eval()
    with torch.inference_mode():
        outputs = model(**processor(images=image, text=labels))
    width, height = image.size
    scale = 1024 / max(width, height)
    picture = image.resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)
    ids, scores = processor.post_process_best_classes(outputs, [(picture.height, picture.width)])[0]
    small = (round(height * scale / 4), round(width * scale / 4))
    return picture, ids, scores, processor.post_process_class_scores(outputs, [small])[0]


# ---- one visit ------------------------------------------------------------------------------------------------------


def test_photo_labels_toggles_threshold_and_heat_maps(visit: Open, photo: Image.Image, network_runs: list[int]) -> None:
    picture, ids, scores, class_scores = segmented(photo, LABELS)
    assert len(ids.unique()) > 1
    page = visit()
    shown, heat = page.locator("#overlay img"), page.locator("#heat-map img")
    expect(shown).to_have_count(0)
    upload(page, png(photo))
    network_runs.clear()
    ask(page, ", ".join(LABELS))
    expect(shown).to_be_visible()
    np.testing.assert_array_equal(downloaded(shown), np.asarray(overlay(picture, ids, LABELS)))
    first = shown.get_attribute("src")

    # A toggle for each label, the largest first, with the mean score of its pixels.
    areas = torch.bincount(ids.flatten(), minlength=3)
    largest = int(areas.argmax())
    toggles = page.get_by_test_id("checkbox-group").get_by_role("checkbox")
    expect(toggles).to_have_count(3)
    expect(page.get_by_test_id("checkbox-group").locator("label").first).to_have_text(
        f"{LABELS[largest]} · {scores[ids == largest].mean():.2f}"
    )
    toggles.first.click()
    expect(shown).not_to_have_attribute("src", first)
    without = ids.masked_fill(ids == largest, NO_CLASS)
    expected = overlay(picture, without, LABELS, background_id=NO_CLASS)
    np.testing.assert_array_equal(downloaded(shown), np.asarray(expected))
    toggles.first.click()
    expect(shown).to_have_attribute("src", first)

    # Below the threshold nothing is coloured: here, about half of the pixels.
    threshold = min(range(101), key=lambda percent: abs((scores < percent / 100).float().mean() - 0.5)) / 100
    number = page.get_by_role("spinbutton", name="Threshold")
    number.fill(str(threshold))
    number.press("Tab")
    expect(shown).not_to_have_attribute("src", first)
    sure = ids.masked_fill(scores < threshold, NO_CLASS)
    expected = overlay(picture, sure, LABELS, background_id=NO_CLASS)
    np.testing.assert_array_equal(downloaded(shown), np.asarray(expected))

    # The heat map of the first label is there; a click asks for that of the class there, and the list for any other.
    maps = [np.asarray(heat_map(picture, class_scores[index].half(), label)) for index, label in enumerate(LABELS)]
    choice = page.get_by_role("combobox", name="Heat map")
    expect(choice).to_have_value(LABELS[0])
    expect(heat).to_be_visible()
    np.testing.assert_array_equal(downloaded(heat), maps[0])
    first = heat.get_attribute("src")
    row, column = inner_pixel(ids)
    shown.click(position=position_on(shown, column, row))
    expect(heat).not_to_have_attribute("src", first)
    clicked = int(ids[row, column])
    np.testing.assert_array_equal(downloaded(heat), maps[clicked])
    expect(choice).to_have_value(LABELS[clicked])
    choice.click()
    page.get_by_role("option", name=LABELS[0], exact=True).click()
    expect(heat).to_have_attribute("src", first)
    assert len(network_runs) == 1


@pytest.mark.slow
def test_annotations_of_what_is_shown_are_a_download(visit: Open, photo: Image.Image) -> None:
    pytest.importorskip("shapely", reason='annotations need `pip install "catseg-hf[annotate]"`')
    _, ids, scores, _ = segmented(photo, LABELS)
    page = visit()
    upload(page, png(photo), "my photo.png")
    ask(page, ", ".join(LABELS))
    expect(page.locator("#overlay img")).to_be_visible()
    choice, button = page.get_by_role("combobox", name="Annotations"), page.get_by_text("Download ")
    expect(button).to_have_count(0)

    def chosen(name: str, file: str) -> bytes:
        choice.click()
        page.get_by_role("option", name=name, exact=True).click()
        expect(button).to_have_text(f"Download {file}")
        with page.expect_download() as download:
            button.click()
        assert download.value.suggested_filename == file
        return Path(download.value.path()).read_bytes()

    content = json.loads(chosen("COCO", "annotations.json"))
    assert content["images"] == [{"id": 1, "file_name": "my photo.png", "height": 160, "width": 256}]
    areas = [
        sum(each["area"] for each in content["annotations"] if each["category_id"] == index) for index in (1, 2, 3)
    ]
    # A pixel of the photo is 16 of the picture on the page.
    np.testing.assert_allclose(areas, torch.bincount(ids.flatten(), minlength=3) / 16, atol=0.5)
    with ZipFile(io.BytesIO(chosen("YOLO", "yolo.zip"))) as archive:
        assert {*archive.namelist()} == {"labels/my photo.txt", "data.yaml"}

    # What changes the picture takes the offer back; then only what is shown counts.
    number = page.get_by_role("spinbutton", name="Threshold")
    number.fill("0.5")
    number.press("Tab")
    expect(button).to_have_count(0)
    expect(choice).to_have_value("")
    content = json.loads(chosen("COCO", "annotations.json"))
    total = sum(each["area"] for each in content["annotations"])
    assert total == pytest.approx((scores >= 0.5).sum().item() / 16, abs=0.5) and total < sum(areas)


def inner_pixel(ids: torch.Tensor) -> tuple[int, int]:
    """Row and column of a pixel amid others of its class, which is not the first: clicks are rounded."""
    largest = torch.nn.functional.max_pool2d(ids[None].float(), 9, stride=1, padding=4)[0]
    smallest = -torch.nn.functional.max_pool2d(-ids[None].float(), 9, stride=1, padding=4)[0]
    places = ((smallest == largest) & (ids > 0)).nonzero()
    return tuple(places[len(places) // 2].tolist())


def position_on(picture: Locator, column: int, row: int) -> dict[str, float]:
    """Where a pixel of the picture is shown."""
    scale = picture.bounding_box()["width"] / picture.evaluate("image => image.naturalWidth")
    return {"x": (column + 0.5) * scale, "y": (row + 0.5) * scale}


@pytest.mark.slow
def test_an_example_is_one_click(visit: Open) -> None:
    page = visit()
    page.locator("#examples button").nth(1).click()
    shown = page.locator("#overlay img")
    expect(shown).to_be_visible()
    scene = draw_scene(EXAMPLE_SEEDS[1], EXAMPLE_SIZE)
    labels = [*scene.names, GROUND]
    expect(page.get_by_role("textbox", name="Labels")).to_have_value(", ".join(labels))
    picture, ids, _, _ = segmented(scene.image, labels)
    np.testing.assert_array_equal(downloaded(shown), np.asarray(overlay(picture, ids, labels)))


@pytest.mark.slow
def test_a_single_label_gets_only_what_it_names(visit: Open, photo: Image.Image, tmp_path: Path) -> None:
    photo.save(tmp_path / "photo.png")
    model = PageModel("tiny")

    def drawn(labels: list[str], others: str | None) -> np.ndarray:
        found = model.segment(str(tmp_path / "photo.png"), labels, others)
        return np.asarray(found.draw(range(len(labels)), 0))

    page = visit()
    shown, switch = page.locator("#overlay img"), page.get_by_role("checkbox", name="Only these")
    upload(page, png(photo))
    expect(switch).not_to_be_checked()
    ask(page, "moon")
    expect(shown).to_be_visible()
    expect(switch).to_be_checked()
    np.testing.assert_array_equal(downloaded(shown), drawn(["moon"], "own"))
    # Nobody switched it: of several labels, every pixel gets the best again.
    before = shown.get_attribute("src")
    ask(page, "moon, ground")
    expect(switch).not_to_be_checked()
    expect(shown).not_to_have_attribute("src", before)
    np.testing.assert_array_equal(downloaded(shown), drawn(["moon", "ground"], None))
    # What is switched by hand stays.
    for is_on, labels in ((True, ["moon", "star"]), (False, ["moon"])):
        before = shown.get_attribute("src")
        switch.set_checked(is_on)
        ask(page, ", ".join(labels))
        expect(shown).not_to_have_attribute("src", before)
        expect(switch).to_be_checked(checked=is_on)
        np.testing.assert_array_equal(downloaded(shown), drawn(labels, "own" if is_on else None))


@pytest.mark.slow
def test_visitors_do_not_see_each_others_photos(visit: Open, photo: Image.Image) -> None:
    pages, pictures = [visit(), visit()], [photo, photo.rotate(180)]
    for page, picture in zip(pages, pictures, strict=True):
        upload(page, png(picture))
        ask(page, "red; something blue, blue; ground")
        expect(page.locator("#overlay img")).to_be_visible()
    labels = ["red", ["something blue", "blue"], "ground"]
    for page, picture in zip(pages, pictures, strict=True):
        shown = page.locator("#overlay img")
        before = shown.get_attribute("src")
        page.get_by_test_id("checkbox-group").get_by_role("checkbox").first.click()
        expect(shown).not_to_have_attribute("src", before)
        large, ids, _, _ = segmented(picture, labels)
        without = ids.masked_fill(ids == torch.bincount(ids.flatten()).argmax(), NO_CLASS)
        expected = overlay(large, without, labels, background_id=NO_CLASS)
        np.testing.assert_array_equal(downloaded(shown), np.asarray(expected))


@pytest.mark.slow
def test_on_a_phone_everything_fits_and_works(visit: Open) -> None:
    page = visit(390, 844, is_mobile=True, has_touch=True)
    page.locator("#examples button").first.tap()
    shown, heat = page.locator("#overlay img"), page.locator("#heat-map img")
    expect(shown).to_be_visible()
    expect(heat).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    button = page.get_by_role("button", name="Segment", exact=True)
    controls = [shown, heat, button, page.get_by_role("textbox", name="Labels"), page.get_by_role("slider")]
    for control in (*controls, *page.get_by_role("checkbox").all()):
        box = control.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    for large in (shown, heat, button):
        assert large.bounding_box()["width"] > 300

    # A tap on what is not the first label shows another heat map.
    scene = draw_scene(EXAMPLE_SEEDS[0], EXAMPLE_SIZE)
    labels = [*scene.names, GROUND]
    ids = segmented(scene.image, labels)[1]
    row, column = inner_pixel(ids)
    before = heat.get_attribute("src")
    shown.tap(position=position_on(shown, column, row))
    expect(page.get_by_role("combobox", name="Heat map")).to_have_value(labels[ids[row, column]])
    expect(heat).not_to_have_attribute("src", before)
    before = shown.get_attribute("src")
    page.get_by_test_id("checkbox-group").get_by_role("checkbox").first.tap()
    expect(shown).not_to_have_attribute("src", before)


# ---- what cannot be done --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_labels_that_cannot_be_used_are_named(visit: Open, photo: Image.Image) -> None:
    page = visit()
    upload(page, png(photo))
    for labels, message in (
        ("", '`labels` is empty: give labels, such as "cat, grass".'),
        ("red,, blue", "Label 2 of 3 is empty: ''. Leave it out."),
        ("<b>red</b>, <b>red</b>", "Labels 1 and 2 are the same: '<b>red</b>'. Leave one out."),
        (", ".join(map(str, range(65))), "There are 65 names, and this page takes at most 64: leave some out."),
        ("red " * 100, "Label 1, 'red red"),
    ):
        ask(page, labels)
        expect(page.get_by_test_id("toast-body").filter(has_text=message)).to_be_visible()
        expect(page.locator("#overlay img")).to_have_count(0)
    # And the page goes on.
    ask(page, "red, ground")
    expect(page.locator("#overlay img")).to_be_visible()


@pytest.mark.slow
def test_photos_that_cannot_be_used_are_named(visit: Open, photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_reading, "MAX_PIXELS", 50_000)
    page = visit()
    ask(page, "red")
    expect(page.get_by_test_id("toast-body")).to_contain_text("There is no photo: choose one.")
    for content, name, kind, message in (
        (b"no picture", "notes.png", "image/png", "it is none, or of a format that Pillow does not know."),
        (png(photo)[:5000], "half.png", "image/png", "The photo cannot be read as a picture: image file is truncated"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a.svg", "image/svg+xml", "it is none, or of a format"),
        (png(Image.new("1", (200, 300))), "big.png", "image/png", "200 = 60000 pixels, but `max_pixels=50000`"),
    ):
        upload(page, content, name, kind)
        page.get_by_role("button", name="Segment", exact=True).click()
        expect(page.get_by_test_id("toast-body").filter(has_text=message).first).to_be_visible()
        page.get_by_role("button", name="Clear").click()


@pytest.mark.slow
def test_unknown_words_are_named_beside_the_result(visit: Open, photo: Image.Image) -> None:
    page = visit()
    upload(page, png(photo))
    ask(page, "<i>giraffe</i>, red, ground")
    warning = page.get_by_role("alert").filter(has_text="does not know")
    expect(warning).to_contain_text("“<i>giraffe</i>”")
    expect(page.locator("#overlay img")).to_be_visible()
    ask(page, "red, ground")
    expect(warning).to_have_count(0)


def test_files_of_the_server_stay_there(address: str, tmp_path: Path) -> None:
    """A photo is what the visitor uploaded, never a path on the server; the page's own requests are made by hand."""
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    client = httpx.Client(base_url=f"{address}gradio_api/", trust_env=False, timeout=TIMEOUT / 1000)
    (uploaded,) = client.post("upload", files={"files": ("a.png", secret.read_bytes())}).json()
    functions = httpx.get(f"{address}config", trust_env=False).json()["dependencies"]
    segment = next(function["id"] for function in functions if len(function["outputs"]) == 9)
    results = []
    for path in (uploaded, str(secret)):
        data = [{"path": path, "meta": {"_type": "gradio.FileData"}}, "red, ground", False, None, 0]
        client.post("queue/join", json={"data": data, "fn_index": segment, "session_hash": "a"}).raise_for_status()
        with client.stream("GET", "queue/data", params={"session_hash": "a"}) as stream:
            messages = [json.loads(line.removeprefix("data: ")) for line in stream.iter_lines() if line]
        results += [message["success"] for message in messages if message["msg"] == "process_completed"]
    assert results == [True, False]


# ---- without a browser ----------------------------------------------------------------------------------------------


def test_clicks_beside_the_photo_mean_nothing() -> None:
    ids = np.array([[0, 1]] * 20).repeat(50, axis=1)
    segmentation = Segmentation("photo", Image.new("RGB", (100, 20)), ["a", "b"], ids, np.ones((20, 100)))
    photo = SegmentedPhoto(segmentation, np.zeros((2, 5, 25), dtype=np.float16), (0.0, 1.0), (20, 100))
    # The picture is 160 pixels wide, with the photo in its middle and the legend below.
    assert photo.draw([0, 1], 0).width == 160
    places = {(29, 5): None, (30, 5): 0, (79, 5): 0, (80, 5): 1, (129, 19): 1, (130, 5): None, (80, 20): None}
    assert {place: photo.class_at(*place) for place in places} == places


def test_what_waits_for_clicks_is_small(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.new("RGB", (4000, 3000)).save(path)
    result = PageModel("tiny").segment(str(path), ["red", "ground"])
    assert result.segmentation.picture.size == (1024, 768) == result.segmentation.class_ids.shape[::-1]
    assert result.class_scores.shape == (2, 192, 256) and result.class_scores.dtype == np.float16


def test_a_model_with_other_words_has_no_drawn_examples(tiny_model_folder: Path) -> None:
    for model, number in ((str(tiny_model_folder), 0), ("tiny", 1)):
        blocks = build_page(model).blocks.values()
        assert sum(isinstance(block, gr.Dataset) for block in blocks) == number


def test_starting_asks_no_other_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts, connect = [], socket.socket.connect

    def recorded(self: socket.socket, address: object) -> None:
        hosts.append(address[0] if isinstance(address, tuple) else address)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", recorded)
    page = build_page("tiny")
    start_page(page, "127.0.0.1", free_port())
    page.close(verbose=False)
    assert {*hosts} <= {"127.0.0.1"}


def test_a_host_that_is_not_this_machine_is_refused() -> None:
    # 192.0.2.1 is nobody's.
    with pytest.raises(OSError, match=re.escape("There can be no page at host 192.0.2.1: ")):
        start_page(gr.Blocks(analytics_enabled=False), "192.0.2.1")


def test_without_gradio_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ImportError, match=re.escape('The web page needs Gradio: `pip install "catseg-hf[demo]"`.')):
        runpy.run_path(web_page.__file__)
    monkeypatch.delitem(sys.modules, "catseg_hf.app.web_page")
    monkeypatch.setattr(sys, "argv", ["catseg", "demo"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == 'Error: The web page needs Gradio: `pip install "catseg-hf[demo]"`.\n'


@pytest.mark.slow
def test_the_command_serves_the_page_until_ctrl_c(tmp_path: Path) -> None:
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GRADIO_TEMP_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "catseg_hf.cli", "demo", "--port", str(port)]
    with started(command, env=environment) as process:
        assert process.stdout.readline() == f"Open http://127.0.0.1:{port}/\n"
        with pytest.raises(OSError, match=f"There can be no page at host 127.0.0.1, port {port}: Address already in"):
            start_page(gr.Blocks(analytics_enabled=False), "127.0.0.1", port)
        _, errors = interrupt(process)
    assert process.returncode == 0 and "Traceback" not in errors, errors
