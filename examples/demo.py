# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The whole way on this machine, without the network: checkpoint, conversion, photo, overlay. `make demo` runs it.

    python examples/demo.py [FOLDER]

No trained checkpoint can be part of this repository, so this one has the names and sizes of the released ViT-B/16 model
but random weights: the overlay shows that everything runs, not what CAT-Seg can do.
"""

import math
import subprocess
import sys
import time
from pathlib import Path

import torch


LABELS = "cat,grass,wall"
NOTICE = """
The weights are RANDOM: the classes in this picture mean nothing.
For real results, convert a released checkpoint (README.md, "Quick start").
"""


def clip_tower(prefix: str, layers: int, width: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of one of CLIP's transformers, as the official CVPR 2024 code stores it.

    Args:
        prefix (`str`): What the names begin with.
        layers (`int`): Number of layers.
        width (`int`): Their width.

    Returns:
        `dict[str, tuple[int, ...]]`: Shape by name.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(layers):
        block = f"{prefix}resblocks.{layer}."
        for name in ("q", "k", "v"):
            shapes[f"{block}attn.{name}_proj_weight"] = (width, width)
        shapes[f"{block}attn.in_proj_bias"] = (3 * width,)
        shapes |= linear(f"{block}attn.out_proj", width, width)
        shapes |= norm(f"{block}ln_1", width)
        shapes |= linear(f"{block}mlp.c_fc", width, 4 * width)
        shapes |= linear(f"{block}mlp.c_proj", 4 * width, width)
        shapes |= norm(f"{block}ln_2", width)
    return shapes


def linear(name: str, inputs: int, outputs: int, *kernel: int) -> dict[str, tuple[int, ...]]:
    """Weight and bias of a linear or, with a kernel size, convolutional layer."""
    return {f"{name}.weight": (outputs, inputs, *kernel), f"{name}.bias": (outputs,)}


def transposed(name: str, inputs: int, outputs: int, side: int) -> dict[str, tuple[int, ...]]:
    """Weight and bias of a transposed convolution."""
    return {f"{name}.weight": (inputs, outputs, side, side), f"{name}.bias": (outputs,)}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    """Weight and bias of a normalisation."""
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def cvpr_shapes(
    vision_width: int = 768, vision_layers: int = 12, text_width: int = 512, text_layers: int = 12, tokens: int = 49408
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors in a checkpoint of the official CVPR 2024 code on a CLIP with patches of 16.

    Args:
        vision_width, vision_layers (`int`, *optional*): Of CLIP's vision tower; by default those of ViT-B/16.
        text_width, text_layers (`int`, *optional*): Of CLIP's text tower, whose width is also that of the embeddings.
        tokens (`int`, *optional*, defaults to 49408): Size of CLIP's token vocabulary.

    Returns:
        `dict[str, tuple[int, ...]]`: Shape by name.
    """
    clip, visual = "sem_seg_head.predictor.clip_model.", "sem_seg_head.predictor.clip_model.visual."
    shapes: dict[str, tuple[int, ...]] = {
        f"{clip}positional_embedding": (77, text_width),
        f"{clip}text_projection": (text_width, text_width),
        f"{clip}logit_scale": (),
        f"{clip}token_embedding.weight": (tokens, text_width),
        **norm(f"{clip}ln_final", text_width),
        **clip_tower(f"{clip}transformer.", text_layers, text_width),
        f"{visual}class_embedding": (vision_width,),
        f"{visual}positional_embedding": (197, vision_width),
        f"{visual}proj": (vision_width, text_width),
        f"{visual}conv1.weight": (vision_width, 3, 16, 16),
        **norm(f"{visual}ln_pre", vision_width),
        **norm(f"{visual}ln_post", vision_width),
        **clip_tower(f"{visual}transformer.", vision_layers, vision_width),
    }
    head = "sem_seg_head.predictor.transformer."
    for layer in range(2):
        swin, classes = f"{head}layers.{layer}.swin_block.", f"{head}layers.{layer}.attention."
        for block in ("block_1", "block_2"):
            shapes |= norm(f"{swin}{block}.norm1", 128) | norm(f"{swin}{block}.norm2", 128)
            shapes |= linear(f"{swin}{block}.attn.q", 256, 128) | linear(f"{swin}{block}.attn.k", 256, 128)
            shapes |= linear(f"{swin}{block}.attn.v", 128, 128) | linear(f"{swin}{block}.attn.proj", 128, 128)
            shapes |= linear(f"{swin}{block}.mlp.fc1", 128, 512) | linear(f"{swin}{block}.mlp.fc2", 512, 128)
        shapes |= norm(f"{swin}guidance_norm", 128)
        shapes[f"{swin}block_2.attn_mask"] = (4, 144, 144)
        shapes |= {f"{classes}padding_tokens": (1, 1, 128), f"{classes}padding_guidance": (1, 1, 128)}
        shapes |= linear(f"{classes}attention.q", 256, 128) | linear(f"{classes}attention.k", 256, 128)
        shapes |= linear(f"{classes}attention.v", 128, 128)
        shapes |= linear(f"{classes}MLP.0", 128, 512) | linear(f"{classes}MLP.2", 512, 128)
        shapes |= norm(f"{classes}norm1", 128) | norm(f"{classes}norm2", 128)
    shapes |= linear(f"{head}conv1", 1, 128, 7, 7)
    shapes |= linear(f"{head}guidance_projection.0", text_width, 128, 3, 3)
    shapes |= linear(f"{head}text_guidance_projection.0", text_width, 128)
    inputs = 128
    for stage, (channels, guidance, projected) in enumerate([(64, 256, 32), (32, 128, 16)]):
        double = f"{head}decoder{stage + 1}.conv.double_conv."
        shapes |= linear(f"{head}decoder_guidance_projection.{stage}.0", guidance, projected, 3, 3)
        shapes |= transposed(f"{head}decoder{stage + 1}.up", inputs, inputs - projected, 2)
        shapes[f"{double}0.weight"] = (channels, inputs, 3, 3)
        shapes[f"{double}3.weight"] = (channels, channels, 3, 3)
        shapes |= norm(f"{double}1", channels) | norm(f"{double}4", channels)
        shapes |= transposed(f"upsample{stage + 1}", vision_width, guidance, 2 << stage)
        inputs = channels
    return shapes | linear(f"{head}head", 32, 1, 3, 3)


def random_checkpoint(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights that keep the activations of a network at an ordinary size.

    Args:
        shapes (`dict[str, tuple[int, ...]]`): Shape by name.
        seed (`int`, *optional*, defaults to 0): Of the random numbers.

    Returns:
        `dict[str, torch.Tensor]`: float32 tensor by name.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        if len(shape) == 1 and name.endswith("weight"):  # a normalisation
            tensors[name] = torch.ones(shape)
        elif name.endswith("bias") or name.endswith("attn_mask") or not shape:
            tensors[name] = torch.zeros(shape)
        else:
            # These three kinds have their inputs first.
            inputs = shape[0] if name.endswith((".up.weight", "proj")) or "upsample" in name else math.prod(shape[1:])
            tensors[name] = torch.randn(shape, generator=generator) / inputs**0.5
    return tensors


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
        torch.save({"model": random_checkpoint(cvpr_shapes())}, checkpoint)
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
