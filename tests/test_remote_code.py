# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A saved folder that carries its code runs where only Transformers is installed."""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModelForSemanticSegmentation, AutoProcessor, pipeline

import catseg_hf
from tests.loopback_hub import TOKEN, LoopbackHub, serve
from tests.tiny_pipelines import save_tiny_pipeline


LABELS = ["cat", ["grass", "lawn"]]
CODE = {path.name for path in Path(catseg_hf.__file__).parent.glob("*_catseg.py")}


def requirements_of(*names: str) -> dict[str, Distribution]:
    """The named distributions and all that they require, without extras."""
    found: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name not in found:
            found[name] = distribution(name)
            requirements = [Requirement(line) for line in found[name].requires or []]
            waiting += [each.name for each in requirements if not each.marker or each.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture(scope="module")
def other_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of another virtual environment: links to Transformers, torch, Pillow, what they require, nothing else."""
    folder = tmp_path_factory.mktemp("environments") / "other"
    venv.create(folder, with_pip=False, symlinks=True)
    site_packages = next(folder.glob("lib/python*/site-packages"))
    for each in requirements_of("transformers", "torch", "pillow").values():
        for top in {file.parts[0] for file in each.files} - {"..", "__pycache__"}:
            link = site_packages / top
            if not link.exists():
                link.symlink_to(Path(each.locate_file(top)).resolve())
    return folder / "bin" / "python"


def run(python: Path, code: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a folder outside the repository, with a cache of its own and, by default, no network."""
    (folder / "script.py").write_text(code)
    kept = ("PATH", "OMP_NUM_THREADS", "TMPDIR")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"HF_HOME": str(folder / "hf_home"), "HF_HUB_OFFLINE": "1", "HOME": str(folder)} | variables
    command = [str(python), "-W", "default", "script.py"]
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_pipeline(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def folder_with_code(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, saved by the pipeline with its code."""
    folder = tmp_path_factory.mktemp("remote") / "with_code"
    pipeline("image-segmentation", model=str(tiny_folder)).save_pretrained(folder, include_code=True)
    return folder


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)).save(path)
    return path


REMOTE = """
import importlib.util, sys
assert importlib.util.find_spec("catseg_hf") is None
import numpy as np, torch
from PIL import Image
from transformers import (
    AutoConfig, AutoImageProcessor, AutoModel, AutoModelForSemanticSegmentation, AutoProcessor, pipeline
)
from transformers.utils import logging
logging.disable_progress_bar()

folder, photo, again = {folder!r}, {photo!r}, {again!r}
for load in (AutoConfig.from_pretrained, AutoModel.from_pretrained, lambda name: pipeline("image-segmentation", name)):
    try:
        load(folder)
        raise SystemExit("loaded without trust")
    except ValueError as error:
        assert "trust_remote_code=True" in str(error)
assert not [name for name in sys.modules if name.endswith("_catseg")]

trust = {{"trust_remote_code": True}}
pipe = pipeline("image-segmentation", model=folder, **trust)
result = pipe(photo, candidate_labels={labels!r}, threshold=0.5, background_label="rest")
np.savez("result.npz", *[np.asarray(each["mask"]) for each in result])
print("", [(each["label"], round(each["score"], 4)) for each in result], sep="\\n")

# Others: lists and the model's own classes; vocabularies and files come with the package.
for others in ("own", ["sky", "grass"]):
    found = pipe(photo, candidate_labels=["dog", "sea"], others=others, background_label="rest")
    assert found and {{each["label"] for each in found}} <= {{"dog", "sea", "rest"}}
try:
    pipe(photo, candidate_labels={labels!r}, others="coco_stuff_171")
    raise SystemExit("a vocabulary without the package")
except ImportError as error:
    assert "coco_stuff_171" in str(error) and "pip install catseg-hf" in str(error)

config = AutoConfig.from_pretrained(folder, **trust)
model = AutoModelForSemanticSegmentation.from_pretrained(folder, **trust)
features = AutoModel.from_pretrained(folder, **trust)
processor = AutoProcessor.from_pretrained(folder, **trust)
image_processor = AutoImageProcessor.from_pretrained(folder, **trust)
inputs = processor(images=Image.open(photo), text={labels!r}, do_sliding_window=False)
with torch.inference_mode():
    assert model(**inputs).logits.shape == (1, 2, 32, 32)
    assert features(**inputs).cost_volume.shape == (1, 2, 1, 8, 8)
for each in (pipe, config, model, features, processor, image_processor):
    assert type(each).__module__.startswith("transformers_modules."), type(each)

# Without ftfy, labels that it would have to clean are refused by name.
assert importlib.util.find_spec("ftfy") is None
try:
    processor(text=["men\u2019s room"])
    raise SystemExit("not cleaned")
except ValueError as error:
    assert "men\u2019s room" in str(error) and "pip install ftfy" in str(error)

# What was loaded as remote code takes the code along without being asked.
pipe.save_pretrained(again)
assert not [name for name in sys.modules if name.split(".")[0] == "catseg_hf"]
"""


@pytest.fixture(scope="module")
def expected(tiny_folder: Path, photo: Path) -> list[dict[str, Any]]:
    here = pipeline("image-segmentation", model=str(tiny_folder))
    return here(str(photo), candidate_labels=LABELS, threshold=0.5, background_label="rest")


def check(done: subprocess.CompletedProcess[str], expected: list[dict[str, Any]], folder: Path) -> None:
    """That the other environment got the same segmentation."""
    assert done.returncode == 0, done.stderr
    assert len(expected) == 3
    assert done.stdout.splitlines()[-1] == str([(each["label"], round(each["score"], 4)) for each in expected])
    masks = np.load(folder / "result.npz")
    assert all(np.array_equal(masks[name], each["mask"]) for name, each in zip(masks.files, expected, strict=True))


@pytest.mark.slow
def test_with_transformers_alone(
    folder_with_code: Path, photo: Path, expected: list[dict[str, Any]], other_python: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    # Saved, loaded, saved again and loaded again.
    for folder, copy in ((folder_with_code, again), (again, tmp_path / "third")):
        names = {"folder": str(folder), "photo": str(photo), "again": str(copy), "labels": LABELS}
        done = run(other_python, REMOTE.format(**names), tmp_path)
        check(done, expected, tmp_path)
        assert not done.stderr
        # The copy is complete: the same files and the same settings.
        assert {path.name for path in copy.iterdir()} == {path.name for path in folder.iterdir()}
        for name in ("config.json", "processor_config.json"):
            settings = [json.loads((place / name).read_text()) for place in (folder, copy)]
            assert settings[0] == settings[1]


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with serve() as hub:
        yield hub


PUSH = """
from transformers import pipeline
import catseg_hf
pipeline("image-segmentation", model={folder!r}).push_to_hub("me/catseg", include_code=True, commit_message="All of it")
"""


@pytest.mark.slow
def test_from_the_hub_with_transformers_alone(
    hub: LoopbackHub, tiny_folder: Path, photo: Path, expected: list[dict[str, Any]], other_python: Path, tmp_path: Path
) -> None:
    online = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    sender, receiver = tmp_path / "sender", tmp_path / "receiver"
    sender.mkdir(), receiver.mkdir()
    environment = {**online, "HF_TOKEN": TOKEN, "PYTHONPATH": str(Path(catseg_hf.__file__).parents[1])}
    done = run(Path(sys.executable), PUSH.format(folder=str(tiny_folder)), sender, **environment)
    assert done.returncode == 0, done.stderr
    repository = hub.repositories["me/catseg"]
    assert repository.files().keys() >= CODE | {"README.md", "config.json", "processor_config.json", "tokenizer.json"}
    assert repository.history()[-1] == "All of it"
    assert b"automatically generated" not in repository.files()["README.md"]

    names = {"folder": "me/catseg", "photo": str(photo), "again": str(receiver / "again"), "labels": LABELS}
    done = run(other_python, REMOTE.format(**names), receiver, **online)
    check(done, expected, receiver)


ENDPOINT = """
import base64, importlib.util, json, sys
from io import BytesIO
assert importlib.util.find_spec("catseg_hf") is None
from huggingface_hub import snapshot_download
folder = snapshot_download("me/endpoint")
sys.path.insert(0, folder)
import numpy as np
from handler import EndpointHandler
from PIL import Image

handler = EndpointHandler(folder)
photo = open({photo!r}, "rb").read()
parameters = dict(candidate_labels={labels!r}, threshold=0.5, background_label="rest")
inputs = [photo, base64.b64encode(photo).decode(), Image.open({photo!r})]
answers = handler(json.loads(json.dumps(dict(inputs=[inputs[1]], parameters=parameters))))
for each in inputs:
    answers.append(handler(dict(inputs=each, parameters=parameters)))
assert all(answer == answers[0] for answer in answers) and len(answers) == 4
result = json.loads(json.dumps(answers[0]))
masks = [Image.open(BytesIO(base64.b64decode(each["mask"]))) for each in result]
np.savez("result.npz", *[np.asarray(mask) for mask in masks])
refused = [
    (dict(inputs="https://example.org/a.png"), "no base64"),
    (dict(inputs={photo!r}), "no base64"),
    (dict(inputs=b"GIF"), "no picture"),
    (dict(), "NoneType"),
    (dict(inputs=photo, parameters=dict(labels=["a"])), "no parameter 'labels'"),
    (dict(inputs=photo, parameters=dict(candidate_labels=["a"], others="/etc/passwd")), "or a list of classes"),
    (dict(inputs=photo, parameters=dict(candidate_labels=["a"], threshold=2)), "from 0 to 1"),
]
for data, message in refused:
    try:
        handler(data)
        raise SystemExit(f"answered: {{data}}")
    except ValueError as error:
        assert message in str(error), error
print([(each["label"], round(each["score"], 4)) for each in result])
"""


@pytest.mark.slow
def test_an_endpoint_with_what_its_requirements_say(
    hub: LoopbackHub, tiny_folder: Path, photo: Path, expected: list[dict[str, Any]], other_python: Path, tmp_path: Path
) -> None:
    online = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    command = "import sys\nfrom catseg_hf.cli import main\nsys.argv[1:] = {words}\nmain()"
    sender, receiver = tmp_path / "sender", tmp_path / "receiver"
    sender.mkdir(), receiver.mkdir()
    environment = {**online, "HF_TOKEN": TOKEN, "PYTHONPATH": str(Path(catseg_hf.__file__).parents[1])}
    words = ["push", str(tiny_folder), "me/endpoint", "--endpoint"]
    done = run(Path(sys.executable), command.format(words=words), sender, **environment)
    assert done.returncode == 0, done.stderr
    files = hub.repositories["me/endpoint"].files()
    assert files.keys() >= CODE | {"handler.py", "requirements.txt", "config.json", "model.safetensors"}
    names = {Requirement(line).name for line in files["requirements.txt"].decode().splitlines()}
    assert names == {"ftfy", "pillow", "torch", "transformers"}  # all of which but ftfy the other environment has
    # The folder stays as it is, and the settings differ from its own in what names the code.
    assert not {path.name for path in tiny_folder.iterdir()} & {"handler.py", "requirements.txt", *CODE}
    for name in ("config.json", "processor_config.json"):
        pushed, own = json.loads(files[name]), json.loads((tiny_folder / name).read_text())
        for settings in (pushed, pushed.get("image_processor", {})):
            settings.pop("auto_map", None)
        pushed.pop("custom_pipelines", None)
        assert pushed == own

    code = ENDPOINT.format(photo=str(photo), labels=LABELS)
    check(run(other_python, code, receiver, **online), expected, receiver)


INSTALLED = """
from transformers import AutoModelForSemanticSegmentation, AutoProcessor, pipeline
from transformers.utils import logging
logging.disable_progress_bar()
import catseg_hf

pipe = pipeline("image-segmentation", model={folder!r})
print([each["label"] for each in pipe({photo!r}, candidate_labels={labels!r})])
"""


def test_in_a_fresh_process_with_the_package_a_saved_pipeline_needs_no_trust(
    folder_with_code: Path, photo: Path, expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    names = [each["label"] for each in expected[:-1]]
    code = INSTALLED.format(folder=str(folder_with_code), photo=str(photo), labels=LABELS)
    root = str(Path(catseg_hf.__file__).parents[1])
    done = run(Path(sys.executable), f"import sys\nsys.path.insert(0, {root!r})\n{code}", tmp_path)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, str(names), "")
    assert not (tmp_path / "hf_home" / "modules").exists()


@pytest.mark.parametrize("trust_remote_code", [None, False, True])
def test_the_package_wins_over_the_copied_code(folder_with_code: Path, trust_remote_code: bool | None) -> None:
    for auto_class in (AutoConfig, AutoModelForSemanticSegmentation, AutoProcessor, AutoImageProcessor):
        loaded = auto_class.from_pretrained(folder_with_code, trust_remote_code=trust_remote_code)
        assert type(loaded).__module__.startswith("catseg_hf.")
    pipe = pipeline("image-segmentation", model=str(folder_with_code), trust_remote_code=trust_remote_code)
    assert type(pipe) is catseg_hf.CatSegImageSegmentationPipeline


def test_including_the_code_is_for_one_save_only(folder_with_code: Path, tmp_path: Path) -> None:
    pipe = pipeline("image-segmentation", model=str(folder_with_code))
    pipe.save_pretrained(tmp_path / "first", include_code=True)
    pipe.save_pretrained(tmp_path / "second")
    assert {path.name for path in (tmp_path / "first").iterdir()} >= CODE
    assert not {path.name for path in (tmp_path / "second").iterdir()} & CODE
    for path in (tmp_path / "second").glob("*.json"):
        if path.name != "tokenizer.json":
            assert not {"auto_map", "custom_pipelines"} & set(json.loads(path.read_text())), path.name
    for each in (pipe.model, pipe.model.config, pipe.processor, pipe.image_processor):
        assert each._auto_class is None and type(each)._auto_class is None
        assert not hasattr(each, "auto_map") and not hasattr(each, "custom_pipelines")
    assert not pipe.model.is_remote_code()


def test_model_and_processor_saved_one_by_one_give_the_same_folder(folder_with_code: Path, tmp_path: Path) -> None:
    catseg_hf.CatSegForSemanticSegmentation.from_pretrained(folder_with_code).save_pretrained(
        tmp_path, include_code=True
    )
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"} | CODE
    catseg_hf.CatSegProcessor.from_pretrained(folder_with_code).save_pretrained(tmp_path, include_code=True)
    for path in folder_with_code.iterdir():
        if path.name != "config.json":  # which names the folder it was loaded from
            assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name
    settings = [json.loads((folder / "config.json").read_text()) for folder in (folder_with_code, tmp_path)]
    assert settings[0] == settings[1]
