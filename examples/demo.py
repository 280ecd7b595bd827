# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Draws a scene and segments it with words: the whole way on this machine, without the network. `make demo` runs it.

    python examples/demo.py [LABELS] [FOLDER]

The model is catseg-tiny, which knows drawn scenes and nothing else. README.md says how to get one for photographs.
"""

import subprocess
import sys
import time
from pathlib import Path

from catseg_hf.scenes import COLORS, GROUND, PATTERNS, SHAPES, Thing, draw_scene


THINGS = [
    Thing("striped", "red", "circle"),
    Thing("plain", "red", "heart"),
    Thing("dotted", "blue", "star"),
    Thing("plain", "yellow", "moon"),
    Thing("striped", "green", "square"),
]


def main() -> None:
    """Draws the scene, segments it, says where the pictures are."""
    scene = draw_scene(7, size=384, things=THINGS)
    labels = sys.argv[1] if len(sys.argv) > 1 else ", ".join([*scene.names, GROUND])
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else "demo")
    folder.mkdir(parents=True, exist_ok=True)
    picture, output = folder / "scene.png", folder / "overlay.png"

    start = time.perf_counter()
    scene.image.save(picture)
    print(f"1. A drawn scene: {picture}", flush=True)
    command = ["segment", str(picture), "--labels", labels, "--model", "tiny", "--output", str(output)]
    print(
        f'2. Its segmentation: catseg segment {picture} --labels "{labels}" --model tiny --output {output}', flush=True
    )
    subprocess.run([sys.executable, "-m", "catseg_hf.cli", *command], check=True)
    print(f"Done in {time.perf_counter() - start:.0f} s. Look at {output}.")
    print(f"""
Now your words: make demo LABELS="something red, a star, a moon, a square, {GROUND}"
This small model knows {", ".join([*PATTERNS, *COLORS, *SHAPES])}, and drawn scenes only.
For photographs and any words, convert a released checkpoint (README.md, "Quick start").""")


if __name__ == "__main__":
    main()
