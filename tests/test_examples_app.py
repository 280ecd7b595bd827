# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The Space that examples/app.py writes has all it needs, and runs as it stands."""

import os
import re
import socket
import sys
from importlib import metadata
from pathlib import Path

import httpx
import pytest
import tomllib
from huggingface_hub import SpaceCard

from examples.app import main, write_space
from tests.child_processes import interrupt, started


ROOT = Path(__file__).parents[1]


def test_requirements_and_metadata_are_those_of_the_package(tmp_path: Path) -> None:
    write_space(tmp_path / "space", "owner/my-catseg")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["demo"], *extras["annotate"]]
    requirements = (tmp_path / "space" / "requirements.txt").read_text().splitlines()

    def parts(requirement: str) -> tuple[str, set[str]]:
        name, versions = re.fullmatch(r"([\w-]+)(.*)", requirement).groups()
        return name, set(versions.split(","))

    assert sorted(map(parts, requirements)) == sorted(map(parts, needed))

    card = SpaceCard.load(tmp_path / "space" / "README.md")
    assert card.data.sdk == "gradio" and card.data.sdk_version == metadata.version("gradio")
    assert (tmp_path / "space" / card.data.app_file).is_file()
    assert card.data.models == ["owner/my-catseg"]
    # The Hub refuses longer ones.
    assert len(card.data.short_description) <= 60
    assert 'DEFAULT_MODEL = "owner/my-catseg"\n' in (tmp_path / "space" / "app.py").read_text()


@pytest.mark.slow
def test_the_space_runs_with_its_own_copy_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "space"
    monkeypatch.setattr(sys, "argv", ["app.py", "--write-space", str(space)])
    main()
    assert capsys.readouterr().out == f"Wrote {space}\n"
    assert sorted(path.name for path in space.iterdir()) == ["README.md", "app.py", "catseg_hf", "requirements.txt"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Where a Space says what to listen on; the copied package is the first on Python's path.
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "GRADIO_TEMP_DIR": str(tmp_path / "gradio")}
    environment |= {"OMP_NUM_THREADS": "1"}
    code = (
        "import runpy, catseg_hf; print(catseg_hf.__file__, flush=True); runpy.run_path('app.py', run_name='__main__')"
    )
    with started([sys.executable, "-c", code], cwd=space, env=environment) as process:
        assert process.stdout.readline() == f"{space / 'catseg_hf' / '__init__.py'}\n"
        assert process.stdout.readline() == f"Open http://127.0.0.1:{port}/\n"
        page = httpx.get(f"http://127.0.0.1:{port}/config", trust_env=False).json()
        assert page["title"] == "CAT-Seg"
        _, errors = interrupt(process)
    assert process.returncode == 0 and "Traceback" not in errors, errors


def test_what_no_space_could_load_is_refused(tmp_path: Path) -> None:
    for model in (str(tmp_path), "base", 'owner/model"; import os'):
        with pytest.raises(ValueError, match=re.escape(f"--model {model}: a Space loads tiny, or owner/name")):
            write_space(tmp_path / "space", model)
    assert not (tmp_path / "space").exists()
    (tmp_path / ".git").mkdir()
    (tmp_path / "README.md").touch()
    with pytest.raises(ValueError, match="is not empty: name a new folder"):
        write_space(tmp_path, "tiny")
