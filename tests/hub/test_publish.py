# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`python -m convert --publish` brings small stand-ins of the released files to a Hub on 127.0.0.1."""

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard

from catseg_hf import __version__
from catseg_hf.conversion import PUBLISHED, ConversionError
from catseg_hf.conversion import command as convert_command
from catseg_hf.conversion.released import RELEASED_FILE, published_figure
from catseg_hf.hub import publish_released
from catseg_hf.hub.publish import compare_with_checkpoint
from tests.loopback_hub import TOKEN, LoopbackHub, Repository, StoredFile, serve


ROOT = Path(__file__).parents[2]
# Runs commands one after the other, in one process, and prints of each: exit code, output, errors.
RUN = """
import contextlib, dataclasses, io, json, sys
from catseg_hf.conversion import command, download

address, digest = sys.argv[1:3]
file = download.PUBLISHED["mmseg-base"]
download.PUBLISHED["mmseg-base"] = dataclasses.replace(file, url=address, sha256_prefix=digest[:8])
for words in json.loads(sys.argv[3]):
    with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.redirect_stderr(io.StringIO()) as error:
        code = command.main(words)
    print(json.dumps([code, output.getvalue(), error.getvalue().splitlines()[-1:]]))
"""
# A machine that knows nothing but the Hub.
USE = """
import json, sys
import catseg_hf
from catseg_hf.conversion.released import read_released, weights_digest
from catseg_hf.hub import find_model
name = find_model("us/catseg-base")
model = catseg_hf.CatSegForSemanticSegmentation.from_pretrained(name)
catseg_hf.CatSegProcessor.from_pretrained(name)
released = read_released(name)
print(json.dumps([model.name_or_path, released.name, released.weights_sha256 == weights_digest(model)]))
"""


@pytest.fixture
def hub(tiny_checkpoint: Path) -> Iterator[LoopbackHub]:
    """A Hub with all released files under their names, each another file, of a small model."""
    content = torch.load(tiny_checkpoint)["model"]
    with serve() as hub:
        hub.repositories["else/where"] = Repository(private=False)
        for file in PUBLISHED.values():
            key = next(key for key in content if key.endswith("head.bias"))
            content[key] = content[key] + 0.1
            buffer = io.BytesIO()
            torch.save({"model": content}, buffer)
            repository = hub.repositories.setdefault(file.repository or "else/where", Repository(private=False))
            stored = {file.file_name: StoredFile(buffer.getvalue(), is_lfs=True)}
            files = repository.commits[repository.branches["main"]].files if repository.branches else {}
            repository.add_commit("main", f"Add {file.file_name}", {**files, **stored})
        yield hub


def original(hub: LoopbackHub, name: str) -> bytes:
    file = PUBLISHED[name]
    return hub.repositories[file.repository or "else/where"].files()[file.file_name]


def run(hub: LoopbackHub, home: Path, *commands: str) -> list[tuple[int, str, list[str]]]:
    """Runs `python -m convert` with these words."""
    file = PUBLISHED["mmseg-base"].file_name
    digest = hashlib.sha256(original(hub, "mmseg-base")).hexdigest()
    words = json.dumps([command.split() for command in commands])
    arguments = [f"{hub.endpoint}/else/where/resolve/main/{file}", digest, words]
    output = python(hub, home, RUN, *arguments)
    return [json.loads(line) for line in output.splitlines()]


def python(hub: LoopbackHub, home: Path, script: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home)}
    environment |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN}
    environment |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    command = [sys.executable, "-c", script, *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
def test_a_checkpoint_is_rehearsed_published_and_left_alone(hub: LoopbackHub, tmp_path: Path) -> None:
    (rehearsed,) = run(hub, tmp_path, "--publish us base --dry-run")
    digest = hashlib.sha256(original(hub, "base")).hexdigest()
    assert rehearsed[0] == 0, rehearsed
    compared, planned = rehearsed[1].splitlines()
    assert compared == f"us/catseg-base: model_base.pth, SHA-256 {digest}; logits of file and folder differ by 0.0e+00"
    assert planned.startswith("us/catseg-base: ") and planned.endswith(" would be pushed")
    assert not [request for request in hub.requests if not request.startswith(("GET", "HEAD"))]
    assert "us/catseg-base" not in hub.repositories

    hub.requests.clear()
    published, again = run(hub, tmp_path, "--publish us base --private", "--publish us base --private")
    assert (published[0], again[0]) == (0, 0), (published, again)
    assert published[1].splitlines()[0] == compared
    repository = hub.repositories["us/catseg-base"]
    assert repository.private and repository.history() == [
        "initial commit",
        f"Convert model_base.pth with catseg_hf {__version__}",
    ]
    assert f"pushed, {hub.endpoint}/us/catseg-base/commit/" in published[1]
    assert again[1].splitlines()[0] == "us/catseg-base: there already"
    # Neither was the file fetched twice.
    assert not [request for request in hub.requests if request.startswith("GET") and "model_base.pth" in request]

    files = repository.files()
    assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "README.md"} <= files.keys()
    assert json.loads(files[RELEASED_FILE])["file_sha256"] == digest
    card = ModelCard(files["README.md"].decode())
    figures = [f"{published_figure('base', name):.1f}" for name in ("ade20k_847", "pascal_context_459", "ade20k_150")]
    before, _, after = card.text.partition(f"| {' | '.join(figures)} |")
    assert after and "**Published by the authors, not measured with this conversion:**" in before
    assert "README of https://github.com/cvlab-kaist/CAT-Seg, state of CVPR 2024" in before
    assert "model-index" not in card.data.to_dict()
    assert f"[`model_base.pth`]({hub.endpoint}/spaces/hamacojr/CAT-Seg-weights/resolve/main/model_base.pth)" in before
    assert digest in before and 'from_pretrained("us/catseg-base")' in before
    (collection,) = hub.collections.values()
    assert collection["namespace"] == "us" and collection["private"]
    assert [item["id"] for item in collection["items"]] == ["us/catseg-base"]

    # What others then need: the name, and no conversion.
    assert json.loads(python(hub, tmp_path / "other", USE)) == ["us/catseg-base", "base", True]


@pytest.mark.slow
def test_all_seven_and_what_was_interrupted_goes_on(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.break_off("POST", "/us/catseg-v1-base/commit/", after=1000)
    broken, finished = run(hub, tmp_path, "--publish us", "--publish us")
    assert broken[0] == 1
    assert "What was pushed stays; the same command goes on." in broken[2][0]
    assert [line.split(": ")[1][:6] for line in broken[1].splitlines()] == ["model_", "pushed"] * 2 + ["model_"]
    assert finished[0] == 0, finished
    assert finished[1].count("there already") == 2 and finished[1].count(": pushed, ") == 5
    for name, file in PUBLISHED.items():
        repository = hub.repositories[f"us/catseg-{name}"]
        assert repository.history() == ["initial commit", f"Convert {file.file_name} with catseg_hf {__version__}"]
        stated = json.loads(repository.files()[RELEASED_FILE])
        assert stated["name"] == name
        assert stated["file_sha256"] == hashlib.sha256(original(hub, name)).hexdigest()
    weights = {hub.repositories[f"us/catseg-{name}"].files()["model.safetensors"] for name in PUBLISHED}
    assert len(weights) == len(PUBLISHED)
    quoted = hub.repositories["us/catseg-mmseg-base"].files()["README.md"].decode()
    assert "Quoted, not measured with this checkpoint: A-150 27.2" in quoted
    (collection,) = hub.collections.values()
    assert [item["id"] for item in collection["items"]] == [f"us/catseg-{name}" for name in PUBLISHED]


@pytest.mark.slow
def test_a_file_that_is_not_the_released_one_is_refused(
    hub: LoopbackHub, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    placed = tmp_path / "catseg_hf" / "originals" / "model_base.pth"
    placed.parent.mkdir(parents=True)
    placed.write_bytes(tiny_checkpoint.read_bytes())
    refused, stranger = run(hub, tmp_path, "--publish us base", "--publish somebody base")
    assert refused[0] == stranger[0] == 1
    assert "model_base.pth is not the released file: its SHA-256 is" in refused[2][0]
    assert "You are logged in as me, who cannot write to somebody: use ['me', 'us']." in stranger[2][0]
    assert not [name for name in hub.repositories if "/catseg-" in name]


def test_other_logits_than_those_of_the_file_are_refused(
    tiny_checkpoint: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    plan, difference = compare_with_checkpoint(tiny_checkpoint, tiny_model_folder)
    assert plan.code_base == "cvpr" and difference <= 1e-5
    content: dict[str, Any] = torch.load(tiny_checkpoint)["model"]
    key = next(key for key in content if key.endswith("head.bias"))
    torch.save({"model": {**content, key: content[key] + 0.1}}, tmp_path / "other.pth")
    with pytest.raises(ConversionError, match="other logits than the checkpoint"):
        compare_with_checkpoint(tmp_path / "other.pth", tiny_model_folder)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("base out --dry-run", "--dry-run and --private are options of --publish"),
        (
            "--publish us --dtype float16 --image-size 448",
            "--publish converts as released: leave out dtype, image_size",
        ),
        ("--publish us small", "no released checkpoint 'small': use some of base, large, v1-base"),
        ("--publish us/models", "'us/models' is no name of a user or organisation"),
    ],
)
def test_commands_that_make_no_sense_are_refused(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert_command.main(words.split()) == 1
    assert message in capsys.readouterr().err


def test_offline_nothing_is_done(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="offline mode"):
        list(publish_released("us", ["base"], dry_run=True))
