# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The web page of `catseg demo` as a script: what a Space on the Hub runs, and what writes the folder of a Space.

    python examples/app.py [--model MODEL]
    python examples/app.py --model owner/name --write-space FOLDER
    hf upload owner/my-space FOLDER --repo-type space

MODEL is `tiny`, a folder written by `python -m convert`, or `owner/name` on the Hub. Gradio comes with
`pip install "catseg-hf[demo]"`.
"""

import argparse
import platform
import re
import shutil
from importlib import metadata
from pathlib import Path

from huggingface_hub import SpaceCardData
from packaging.requirements import Requirement

import catseg_hf
from catseg_hf.app.web_page import build_page, start_page


DEFAULT_MODEL = "tiny"


def write_space(folder: Path, model: str) -> None:
    """Writes all that a Space on the Hub needs: this script, the package, requirements, and a README with metadata.

    Args:
        folder (`Path`): A new folder, or one that is empty but for hidden files, such as a clone of a new Space.
        model (`str`): `"tiny"`, or `owner/name` of a model on the Hub.

    Raises:
        ValueError: If the folder holds something, or a Space could not load the model.
    """
    is_on_hub = re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model) is not None and not Path(model).exists()
    if not (is_on_hub or model == "tiny"):
        raise ValueError(f"--model {model}: a Space loads tiny, or owner/name from the Hub; see `catseg push`.")
    if folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise ValueError(f"--write-space {folder} is not empty: name a new folder.")
    package = Path(catseg_hf.__file__).parent
    shutil.copytree(package, folder / "catseg_hf", ignore=shutil.ignore_patterns("__pycache__"))
    script = Path(__file__).read_text(encoding="utf-8")
    script = script.replace(f'DEFAULT_MODEL = "{DEFAULT_MODEL}"', f'DEFAULT_MODEL = "{model}"')
    (folder / "app.py").write_text(script, encoding="utf-8")

    # What pyproject.toml asks for, as it was installed.
    requirements = [Requirement(line) for line in metadata.requires("catseg-hf")]
    extras = [{"extra": name} for name in ("demo", "annotate")]
    needed = [line for line in requirements if line.marker is None or any(map(line.marker.evaluate, extras))]
    lines = sorted(f"{requirement.name}{requirement.specifier}\n" for requirement in needed)
    (folder / "requirements.txt").write_text("".join(lines), encoding="utf-8")

    # https://huggingface.co/docs/hub/spaces-config-reference
    card = SpaceCardData(
        title="CAT-Seg",
        emoji="🐈",
        colorFrom="yellow",
        colorTo="purple",
        sdk="gradio",
        sdk_version=metadata.version("gradio"),
        python_version=".".join(platform.python_version_tuple()[:2]),
        app_file="app.py",
        license="apache-2.0",
        short_description="Segment photos in your own words",
        models=[model] if is_on_hub else None,
    )
    text = f"---\n{card.to_yaml()}\n---\n\nSegments photos into classes that you name, with CAT-Seg (`{model}`).\n"
    (folder / "README.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Starts the page, or writes a Space."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--write-space", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    if options.write_space is not None:
        write_space(options.write_space, options.model)
        print(f"Wrote {options.write_space}")
        return
    page = build_page(options.model)
    print(f"Open {start_page(page)}", flush=True)
    page.block_thread()


if __name__ == "__main__":
    main()
