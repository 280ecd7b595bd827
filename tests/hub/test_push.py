# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`catseg push` brings all of a model's folder, and nothing else, to a Hub on 127.0.0.1."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from catseg_hf.hub import push_folder
from tests.loopback_hub import TOKEN, LoopbackHub, serve


ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with serve() as hub:
        yield hub


def catseg(hub: LoopbackHub, home: Path, *arguments: object, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    """Runs the command as a user of that Hub."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home)}
    environment |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": token}
    command = [sys.executable, "-m", "catseg_hf.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_push_uploads_a_folder_in_one_commit(hub: LoopbackHub, tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder, folder)
    (folder / "optimizer.safetensors").write_bytes(b"of the training")
    (folder / "trainer_state.json").write_text("{}")
    options = ("--private", "--revision", "v1", "--commit-message", "First one")
    result = catseg(hub, tmp_path / "home", "push", folder, "me/pushed", *options)
    assert result.returncode == 0, result.stderr
    repository = hub.repositories["me/pushed"]
    assert repository.private and repository.files("main") == {}
    assert repository.history("v1") == ["initial commit", "First one"]
    assert result.stdout.startswith(f"Pushed to {hub.endpoint}/me/pushed/commit/")
    expected = {path.name: path.read_bytes() for path in tiny_model_folder.iterdir()}
    assert repository.files("v1") == expected and "README.md" in expected


@pytest.mark.slow
def test_push_without_a_card_makes_one_and_leaves_one(
    hub: LoopbackHub, tiny_model_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder, folder)
    (folder / "README.md").unlink()
    assert catseg(hub, tmp_path / "home", "push", folder, "me/made").returncode == 0
    card = hub.repositories["me/made"].files()["README.md"]
    assert b'model="me/made"' in card and not (folder / "README.md").exists()
    result = catseg(hub, tmp_path / "home", "push", folder, "me/made")
    assert result.returncode == 0, result.stderr
    assert hub.repositories["me/made"].files()["README.md"] == card

    result = catseg(hub, tmp_path / "home", "push", folder, "me/anonymous", token="hf_wrong")
    assert result.returncode == 1 and result.stderr.startswith("Error: ") and "401" in result.stderr
    assert "me/anonymous" not in hub.repositories


def test_push_refuses_what_is_no_whole_model(tiny_model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'nobody' is no name on the Hub: give owner/name"):
        push_folder(tiny_model_folder, "nobody")
    with pytest.raises(ValueError, match="holds no model"):
        push_folder(tmp_path, "me/empty")
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tiny_model_folder / name, tmp_path)
    with pytest.raises(ValueError, match="holds no processor"):
        push_folder(tmp_path, "me/half")
