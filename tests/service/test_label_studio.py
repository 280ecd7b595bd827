# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The service as a backend of a real Label Studio: drafts, submitted and exported, are what the model decided.

Skipped without Label Studio, whose executable `LABEL_STUDIO` names: `make test-label-studio`.
"""

import json
import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import numpy as np
import pytest


pytest.importorskip("ray", reason='needs the extra "serve"')
from running_label_studio import TOKEN, LabelStudio, running_label_studio
from running_service import Service, running_service

from catseg_hf import TINY, Segmenter
from catseg_hf.datasets import load_folder
from catseg_hf.scenes import draw_scene


PROGRAM = os.environ.get("LABEL_STUDIO")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.timeout(900),
    pytest.mark.skipif(PROGRAM is None, reason="make test-label-studio"),
]
KEY, SIZE = "key-of-the-test", 128
# Their names in what Label Studio exports, and the words for the model.
NAMES, WORDS = ["star", "crescent", "ground"], ["star", ["moon", "crescent"], "ground"]
LABELS = '<Label value="star"/><Label value="moon" alias="crescent"/><Label value="ground"/>'
SEEDS = {"uploaded.png": 3, "other.png": 4, "local.png": 5}


class Colleagues(NamedTuple):
    """Both programs."""

    studio: LabelStudio
    service: Service
    photos: Path


@pytest.fixture(scope="module")
def colleagues(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Colleagues]:
    folder = tmp_path_factory.mktemp("label-studio")
    photos = folder / "photos"
    photos.mkdir()
    for name, seed in SEEDS.items():
        draw_scene(seed, SIZE).image.save(photos / name)
    (folder / "keys.txt").write_text(KEY)
    (folder / "token.txt").write_text(TOKEN)
    with running_label_studio(PROGRAM, folder, folder) as studio:
        options = ("--api-key-file", str(folder / "keys.txt"), "--label-studio-url", studio.address)
        options += ("--label-studio-token-file", str(folder / "token.txt"))
        with running_service(folder / "service.txt", *options) as service:
            yield Colleagues(studio, service, photos)


def make_project(colleagues: Colleagues, control: str) -> int:
    """A project with three photos: two uploaded, one of the machine that Label Studio runs on."""
    studio, photos = colleagues.studio, colleagues.photos
    config = f'<View><Image name="photo" value="$image"/>{control}</View>'
    project = studio.ask("POST", "/api/projects/", json={"title": "Scenes", "label_config": config})["id"]
    for name in list(SEEDS)[:2]:
        files = {"file": (name, (photos / name).read_bytes(), "image/png")}
        studio.ask("POST", f"/api/projects/{project}/import", files=files)
    storage = {"project": project, "path": str(photos), "use_blob_urls": True}
    studio.ask("POST", "/api/storages/localfiles/", json=storage)
    tasks = [{"image": "/data/local-files/?d=photos/local.png"}]
    studio.ask("POST", f"/api/projects/{project}/import", json=tasks)
    return project


def connection(colleagues: Colleagues, project: int, **more: Any) -> dict[str, Any]:
    signed = {"auth_method": "BASIC_AUTH", "basic_auth_user": "label-studio", "basic_auth_pass": KEY}
    return {"project": project, "url": colleagues.service.address, "title": "CAT-Seg", **signed, **more}


def connect(colleagues: Colleagues, project: int, **more: Any) -> None:
    backend = colleagues.studio.ask("POST", "/api/ml/", json=connection(colleagues, project, **more))
    assert (backend["readable_state"], backend["error_message"]) == ("Connected", None)
    assert backend["model_version"].startswith("tiny ")


def drafts_of(colleagues: Colleagues, project: int) -> dict[str, tuple[int, list[dict[str, Any]]]]:
    """Number and predictions of each task, by the last part of its photo's address."""
    studio = colleagues.studio
    asked = {"project": project, "selectedItems": {"all": True, "excluded": []}}
    action = {"id": "retrieve_tasks_predictions", "project": project}
    studio.ask("POST", "/api/dm/actions/", params=action, json=asked)
    tasks = studio.ask("GET", "/api/tasks/", params={"project": project, "fields": "all"})["tasks"]
    return {task["data"]["image"].rpartition("/")[2]: (task["id"], task["predictions"]) for task in tasks}


def check(dataset: Any, expected: dict[str, np.ndarray], least_share: float) -> None:
    """That labels are what the model decided."""
    assert len(dataset) == len(expected) and dataset.warnings == []
    place = [NAMES.index(name) for name in dataset.class_names]
    for sample in dataset:
        decided = next(ids for name, ids in expected.items() if Path(name).stem in sample.name)
        labels = np.asarray(sample.labels)
        ids = np.array([*place, *[-1] * (256 - len(place))])[labels]
        assert np.mean(ids == decided) >= least_share, sample.name


@pytest.mark.parametrize("kind", ["Polygon", "Brush"])
def test_what_is_submitted_is_what_the_model_decided(colleagues: Colleagues, kind: str, tmp_path: Path) -> None:
    control = f'<{kind}Labels name="shape" toName="photo">{LABELS}</{kind}Labels>'
    project = make_project(colleagues, control)
    connect(colleagues, project)
    drafts = drafts_of(colleagues, project)
    assert len(drafts) == len(SEEDS)
    for task, (prediction,) in drafts.values():
        assert prediction["model_version"].startswith("tiny ") and 0.3 < prediction["score"] < 1
        assert {region["type"] for region in prediction["result"]} == {f"{kind.lower()}labels"}
        colleagues.studio.ask("POST", f"/api/tasks/{task}/annotations/", json={"result": prediction["result"]})

    segmenter = Segmenter.from_pretrained(TINY, WORDS, device="cpu")
    expected = {name: segmenter(draw_scene(seed, SIZE).image).class_ids for name, seed in SEEDS.items()}
    (tmp_path / "export.json").write_bytes(colleagues.studio.export(project, "JSON"))
    check(load_folder(colleagues.photos, tmp_path / "export.json"), expected, 1)
    if kind == "Polygon":
        for export, least_share in (("COCO", 1), ("YOLO", 0.9)):
            folder = tmp_path / export
            ZipFile(BytesIO(colleagues.studio.export(project, export))).extractall(folder)
            place = folder / "result.json" if export == "COCO" else folder
            check(load_folder(colleagues.photos, place), expected, least_share)


def test_label_studio_shows_what_is_wrong(colleagues: Colleagues) -> None:
    studio = colleagues.studio
    polygons = f'<PolygonLabels name="shape" toName="photo">{LABELS}</PolygonLabels>'
    project = make_project(colleagues, polygons)
    choices = '<Choices name="kind" toName="photo"><Choice value="star"/></Choices>'
    other = make_project(colleagues, choices)
    for wrong, cause in (
        (connection(colleagues, other), "nothing+to+segment"),
        (connection(colleagues, project, extra_params={"treshold": 0.5}), "treshold"),
        (connection(colleagues, project, basic_auth_pass="wrong"), "authentication parameters"),
    ):
        reply = studio.web.post("/api/ml/", json=wrong)
        assert reply.status_code == 400 and cause in reply.text

    # A photo that is not there has a prediction that says so, and the others have theirs.
    connect(colleagues, project, extra_params={"min_area": 20, "simplify": 1})
    studio.ask("POST", f"/api/projects/{project}/import", json=[{"image": "/data/local-files/?d=photos/none.png"}])
    drafts = drafts_of(colleagues, project)
    (missing,) = drafts.pop("none.png")[1]
    assert missing["model_version"].startswith("The photo is not there") and missing["result"] == []
    assert all(prediction["result"] for _, (prediction,) in drafts.values()) and len(drafts) == len(SEEDS)
    assert json.dumps(drafts).count('"points"') < 60  # of some hundred without extra parameters
