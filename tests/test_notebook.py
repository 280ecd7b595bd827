# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The notebook runs from its first cell to its last and shows what its text says."""

import base64
import io
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from PIL import Image


ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "tour.ipynb"
MAX_BYTES = 400_000


def read_notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def numbers(pattern: str, text: str) -> list[float]:
    """The numbers that a printed line holds, `#` standing for each in the pattern."""
    match = re.search(re.escape(pattern).replace(r"\#", r"([\d.]+)"), text)
    assert match is not None, f"{pattern!r} is not in {text!r}"
    return [float(number) for number in match.groups()]


# One test, so that no second process runs it all again.
@pytest.mark.slow
def test_it_runs_and_shows_what_its_text_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = read_notebook()
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # tqdm misses ipywidgets, which nothing in the notebook needs.
    monkeypatch.setenv("PYTHONWARNINGS", "ignore:IProgress")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    # Without folders to look for others, there is one kernel: that of this interpreter.
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, km=manager, startup_timeout=600, timeout=1800, resources=place).execute()

    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    printed, pictures = "", []
    for cell in cells:
        for output in cell.outputs:
            if output.output_type == "stream":
                assert output.name == "stdout", output.text
                printed += output.text
            else:
                pictures.append(base64.b64decode(output.data["image/jpeg"]))
    assert len(set(pictures)) == len(pictures) == 7
    for picture in pictures:
        pixels = np.asarray(Image.open(io.BytesIO(picture)))
        assert min(pixels.shape[:2]) >= 256 and pixels.std() > 10

    before, after = numbers("right word: #% by similarity alone, #% aggregated", printed)
    assert before < after <= 100
    assert numbers("threshold None: #% of the picture", printed) == [100]
    assert 70 < numbers("threshold 0.5: #% of the picture", printed)[0] < 99
    first, *_, last = numbers("loss: # # # # #", printed)
    assert last < first
    before, after = numbers("at night: # before, # after fine-tuning", printed)
    assert before + 0.1 < after < 1


def test_what_is_stored_is_valid_small_and_complete() -> None:
    notebook = read_notebook()
    nbformat.validate(notebook)
    assert NOTEBOOK.stat().st_size < MAX_BYTES
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for target in re.findall(r"\]\(([^)]*)\)", text):
        assert target.startswith("https://") or (NOTEBOOK.parent / target).is_file(), target
