# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What tutorials, gallery and the page on how it works say to type runs in order, prints and draws what they show."""

import json
import os
import re
import subprocess
import sys
from codeop import compile_command
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catseg_hf.scenes import draw_scene
from examples.draw_pictures import EXAMPLES, PAGES, Step, blocks, drawn, leave_out, pictures, run_catseg, run_page
from tests import loopback_hub as hub


ROOT = EXAMPLES.parent
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
# Pages whose blocks need more than this process: further below.
APART = ("share", "serve", "train_your_labels")
# What extras bring; accelerate, which evaluations need, is among what all tests need.
LIBRARIES = {"label_studio_round_trip": ("shapely",), "gallery": ("av", "rasterio", "shapely")}
PICTURES = EXAMPLES / "pictures"
DRAWN = [page for page in PAGES if pictures(page)]


def check_printed(step: Step, tolerance: float) -> None:
    """A block prints what its page says; `…` stands for anything, and numbers may differ a little."""
    if step.shown is None:
        return
    printed = "\n".join(line for line in step.printed.splitlines() if "it/s]" not in line)
    shown = step.shown.strip("\n")
    pattern = re.escape(NUMBER.sub("\0", shown)).replace("\0", f"({NUMBER.pattern})")
    pattern = pattern.replace("\n…\\\n", "\n(?s:.*)\n").replace("…", ".*")
    found = re.search(pattern, printed)
    assert found is not None, f"{step.code}\nshould print\n{shown}\nbut prints\n{printed}"
    for expected, value in zip(NUMBER.findall(shown), found.groups(), strict=True):
        digits = len(expected.partition(".")[2])
        least = 2 * 10**-digits if digits else 0  # counts are exact
        assert float(value) == pytest.approx(float(expected), rel=tolerance, abs=least), step.code


def check_picture(kept: Path, now: Image.Image, share: float) -> None:
    """A picture shows the same but for what JPEG changes, and for a share of its cells of 8 x 8 pixels.

    Legends may differ in height, where a class gets a pixel more or less.
    """
    before = Image.open(kept).convert("RGB")
    assert before.width == now.width, kept
    box = (0, 0, now.width, min(before.height, now.height))
    cells = (np.asarray(picture.crop(box).reduce(8), dtype=int) for picture in (before, now))
    differs = np.abs(np.subtract(*cells)).max(axis=-1) > 40
    assert differs.mean() <= share, f"{kept}: {differs.mean():.1%}; draw it again by `make pictures`, and look at it"


def check(
    page: Path,
    folder: Path,
    programs: dict[str, Callable[[list[str]], None]] | None = None,
    tolerance: float = 0.02,
    share: float = 0.005,
) -> None:
    steps = run_page(page, folder, programs)
    assert steps
    for step in steps:
        check_printed(step, tolerance)
    for target, name in pictures(page).items():
        check_picture(target, drawn(folder, name), share)


@pytest.fixture(autouse=True)
def on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem not in APART], ids=lambda page: page.stem)
def test_a_page_prints_and_draws_what_it_shows(page: Path, tmp_path: Path) -> None:
    for library in LIBRARIES.get(page.stem, ()):
        pytest.importorskip(library)
    check(page, tmp_path)


@pytest.mark.slow
def test_the_tutorial_on_training_finds_at_night_what_it_shows(tmp_path: Path) -> None:
    page = EXAMPLES / "tutorials" / "train_your_labels.md"
    # Forty steps magnify the rounding of other processors.
    check(page, tmp_path, tolerance=0.3, share=0.1)
    before, after = (
        json.loads((tmp_path / name / "results.json").read_text())["metrics"]["miou_present_in_ground_truth"]
        for name in ("before", "after")
    )
    assert before < 0.2 and after > 0.5


@pytest.mark.slow
def test_the_tutorial_on_sharing_pushes_to_a_hub(tmp_path: Path) -> None:
    """To one on 127.0.0.1, in a process of its own, since the library reads the address when it is imported."""
    with hub.serve() as local_hub:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_ENDPOINT": local_hub.endpoint}
        environment |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": hub.TOKEN}
        environment["HF_HOME"] = str(tmp_path / "home")

        def catseg(words: list[str]) -> None:
            if words[:3] != ["push", "my-model", "OWNER/my-model"]:
                return run_catseg(words)
            command = [sys.executable, "-m", "catseg_hf.cli", *words]
            result = subprocess.run(command, env=environment, capture_output=True, text=True)
            print(result.stdout, result.stderr)
            raise SystemExit(result.returncode)

        folder = tmp_path / "reader"
        folder.mkdir()
        check(EXAMPLES / "tutorials" / "share.md", folder, {"catseg": catseg})
        repository = local_hub.repositories["OWNER/my-model"]
        assert repository.private
        assert repository.files("main") == {path.name: path.read_bytes() for path in (folder / "my-model").iterdir()}


def test_the_tutorial_on_serving_gets_the_answers_that_it_shows(tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason='needs `pip install "catseg-hf[serve]"`')
    from catseg_hf.service.served_model import ServedModel
    from catseg_hf.service.settings import ServiceSettings
    from tests.service.local_service import LocalBackend, client

    settings = ServiceSettings(model="tiny")
    service = client(settings, LocalBackend(ServedModel(settings)))

    def curl(words: list[str]) -> None:
        """Sends what curl would, to a service in this process."""
        (address,) = [word for word in words if word.startswith("http")]
        forms = [words[index + 1].partition("=") for index, word in enumerate(words) if word == "--form"]
        files = {name: Path(value[1:]).read_bytes() for name, _, value in forms if value.startswith("@")}
        fields = {name: value for name, _, value in forms if not value.startswith("@")}
        answer = service.post(address.removeprefix("http://127.0.0.1:8000"), data=fields, files=files)
        if "--output" in words:
            Path(words[words.index("--output") + 1]).write_bytes(answer.content)
        else:
            print(answer.text)
        assert answer.is_success or '"error"' in answer.text

    check(EXAMPLES / "tutorials" / "serve.md", tmp_path, {"catseg": leave_out, "curl": curl})
    # The picture is that of the first tutorial, which names the same words for the same scene.
    targets = {name: target for target, name in pictures(EXAMPLES / "tutorials" / "first_photo.md").items()}
    check_picture(targets["overlay"], drawn(tmp_path, "overlay"), share=0.005)


def test_commands_of_the_gallery_are_those_that_drew_its_pictures() -> None:
    text = (EXAMPLES / "gallery.md").read_text(encoding="utf-8")
    found = re.findall(r"\(pictures/(\w+)/[^)]*\)\n\n```bash\n(.*?)```", text, re.DOTALL)
    borrowed = [(name, command) for name, command in found if name != "gallery"]
    assert len(borrowed) >= 2
    for name, command in borrowed:
        assert command in (EXAMPLES / "tutorials" / f"{name}.md").read_text(encoding="utf-8"), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_blocks_of_python_can_be_pasted_into_its_prompt(page: Path) -> None:
    for block in blocks(page):
        waiting: list[str] = []
        for line in [*block.text.splitlines(), ""] if block.language == "python" else []:
            waiting.append(line)
            if compile_command("\n".join(waiting)) is not None:
                waiting = []
        assert not waiting, block.text


@pytest.mark.parametrize("page", DRAWN, ids=lambda page: page.stem)
def test_pictures_are_small_and_said_in_words(page: Path) -> None:
    for target in pictures(page):
        assert target.stat().st_size < 100_000, target
    alternatives = re.findall(r"!\[([^\]]*)\]", page.read_text(encoding="utf-8"))
    assert all(len(words) > 20 for words in alternatives) and len(page.read_text().splitlines()) < 300


def test_all_pictures_that_are_kept_are_of_a_page() -> None:
    kept = {path for path in PICTURES.rglob("*") if path.is_file()}
    assert kept == {target for page in PAGES for target in pictures(page)}
    assert sum(path.stat().st_size for path in kept) < 1_500_000


def test_every_tutorial_is_in_the_list_of_examples() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"]({page.relative_to(EXAMPLES)})" in listed for page in PAGES)
    assert set((EXAMPLES / "tutorials").glob("*.md")) <= set(PAGES)


def test_a_page_that_prints_something_else_is_found() -> None:
    check_printed(Step("", "mIoU 95.49 %\nWrote results\n", "mIoU 95.2 %\nWrote …\n"), 0.02)
    for shown in ("mIoU 85.49 %\n", "mIoU of 95.49 %\n"):
        with pytest.raises(AssertionError):
            check_printed(Step("", "mIoU 95.49 %\n", shown), 0.02)


def test_another_picture_is_found(tmp_path: Path) -> None:
    scene = draw_scene(7).image
    scene.save(tmp_path / "scene.jpg")
    check_picture(tmp_path / "scene.jpg", scene, share=0)
    scene.paste("red", (100, 100, 130, 130))
    with pytest.raises(AssertionError, match="make pictures"):
        check_picture(tmp_path / "scene.jpg", scene, share=0.005)


def test_a_command_that_fails_without_its_error_on_the_page_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\ncatseg segment no.png --labels star --model tiny\n```\n")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RuntimeError, match="no.png"):
        run_page(page, tmp_path / "folder")
    assert blocks(page)[0][0] == "bash"
