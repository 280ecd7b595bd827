# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The whole way on this machine, without the network: checkpoint, conversion, photo, overlay. `make demo` runs it.

    python examples/demo.py [FOLDER]

No trained checkpoint can be part of this repository, so this one has the names and sizes of the released ViT-B/16 model
but random weights: the overlay shows that everything runs, not what CAT-Seg can do.
"""

import subprocess
import sys
import time
from pathlib import Path

import torch

from catseg_hf import CatSegConfig, CatSegForSemanticSegmentation
from catseg_hf.conversion import original_state_dict


LABELS = "cat,grass,wall"
NOTICE = """
The weights are RANDOM: the classes in this picture mean nothing.
For real results, convert a released checkpoint (README.md, "Quick start").
"""


def random_checkpoint(config: CatSegConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights under the names of the official CVPR 2024 code.

    Args:
        config (`CatSegConfig`): The sizes of the model.
        seed (`int`, *optional*, defaults to 0): Of the random numbers.

    Returns:
        `dict[str, torch.Tensor]`: float32 tensor by name.
    """
    torch.manual_seed(seed)
    model = CatSegForSemanticSegmentation(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                # Larger than for training, so that the picture is not all of one class.
                weight.normal_(std=weight[0].numel() ** -0.5)
    return original_state_dict(model)


def main() -> None:
    """Makes the checkpoint, converts it, segments a photo."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, model, output = folder / "random.pth", folder / "model", folder / "overlay.png"

    from skimage import data

    photo = Path(data.__path__[0]) / "chelsea.png"
    start = time.perf_counter()
    if not model.is_dir():
        print(f"1. A checkpoint with random weights, in the names of the original code: {checkpoint}", flush=True)
        torch.save({"model": random_checkpoint(CatSegConfig.vit_base())}, checkpoint)
        print(f"2. Its conversion: python -m convert {checkpoint} {model}", flush=True)
        subprocess.run([sys.executable, "-m", "convert", checkpoint, model], check=True)
        checkpoint.unlink()
    command = ["segment", photo, "--labels", LABELS, "--model", model, "--output", output]
    print(f"3. A photo: catseg {' '.join(map(str, command))}", flush=True)
    subprocess.run([sys.executable, "-m", "catseg_hf.cli", *command], check=True)
    print(f"Done in {time.perf_counter() - start:.0f} s. Look at {output}.")
    print(NOTICE)


if __name__ == "__main__":
    main()
