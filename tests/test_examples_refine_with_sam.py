# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The example on small SAMs with random weights, against a plain definition of what it does."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Sam2Config, Sam2Model, Sam2Processor, SamConfig, SamModel, SamProcessor
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from examples.refine_with_sam import refine_with_sam


ROOT = Path(__file__).parents[1]
HEIGHT, WIDTH, POINTS = 40, 60, 4


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def masks() -> torch.Tensor:
    """Three classes in stripes, and a stripe without a class on the right."""
    masks = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.bool)
    for index in range(3):
        masks[index, :, 15 * index : 15 * index + 15] = True
    return masks


@pytest.fixture(scope="module")
def sam() -> tuple[SamModel, SamProcessor]:
    torch.manual_seed(0)
    vision = {"hidden_size": 16, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision |= {"image_size": 64, "patch_size": 8, "mlp_dim": 16, "window_size": 4, "num_pos_feats": 8}
    prompt = {"hidden_size": 16, "image_size": 64, "patch_size": 8, "mask_input_channels": 4}
    decoder = {"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    vision["global_attn_indexes"] = [1]
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    model = SamModel(config).eval()
    with torch.no_grad():
        # Of the layers that draw the regions: so large that there are many kinds of them.
        for layer in model.mask_decoder.output_hypernetworks_mlps:
            for weight in layer.parameters():
                weight.normal_(std=3)
    sizes = {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}}
    sizes |= {"mask_size": {"longest_edge": 16}, "mask_pad_size": {"height": 16, "width": 16}}
    return model, SamProcessor(SamImageProcessorPil(**sizes))


@torch.inference_mode()
def plainly_refined(masks: torch.Tensor, photo: Image.Image, model: Any, processor: Any) -> torch.Tensor:
    """Each region of each point on its own, then each pixel on its own."""
    class_ids = torch.full((HEIGHT, WIDTH), -1)
    for index, mask in enumerate(masks):
        class_ids[mask] = index
    regions = []
    for column in range(POINTS):
        for row in range(POINTS):
            point = [(column + 0.5) * WIDTH / POINTS, (row + 0.5) * HEIGHT / POINTS]
            inputs = processor(images=photo, input_points=[[[point]]], return_tensors="pt")
            outputs = model(pixel_values=inputs["pixel_values"], input_points=inputs["input_points"].float())
            sizes = [inputs[name] for name in ("original_sizes", "reshaped_input_sizes") if name in inputs]
            for logits in processor.post_process_masks(outputs.pred_masks, *sizes, binarize=False)[0][0]:
                if (logits > 0).any():
                    classes, counts = class_ids[logits > 0].unique(return_counts=True)
                    stability = float((logits > 1).sum()) / float((logits > -1).sum())
                    # None counts as the last class where two are equally large.
                    order = [(-int(n), 99 if c < 0 else int(c)) for c, n in zip(classes, counts, strict=True)]
                    regions.append((stability, logits > 0, min(order)[1]))
    refined = torch.zeros_like(masks)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            over = [(stability, label) for stability, region, label in regions if region[row, column]]
            label = max(over, key=lambda entry: entry[0])[1] if over else int(class_ids[row, column])
            if 0 <= label < len(masks):
                refined[label, row, column] = True
    return refined


def test_regions_get_the_class_of_most_of_their_pixels(
    sam: tuple[SamModel, SamProcessor], photo: Image.Image, masks: torch.Tensor
) -> None:
    refined = refine_with_sam(masks, photo, *sam, points_per_side=POINTS)
    assert refined.dtype == torch.bool and refined.shape == masks.shape
    assert torch.equal(refined, plainly_refined(masks, photo, *sam))
    assert not torch.equal(refined, masks) and (refined.sum(dim=0) <= 1).all()


def test_one_class_stays_and_none_stays_none(
    sam: tuple[SamModel, SamProcessor], photo: Image.Image, masks: torch.Tensor
) -> None:
    everywhere = torch.zeros_like(masks)
    assert torch.equal(refine_with_sam(everywhere, photo, *sam, points_per_side=2), everywhere)
    everywhere[1] = True
    assert torch.equal(refine_with_sam(everywhere, photo, *sam, points_per_side=2), everywhere)


def test_a_folder_is_loaded(
    sam: tuple[SamModel, SamProcessor], photo: Image.Image, masks: torch.Tensor, tmp_path: Path
) -> None:
    for part in sam:
        part.save_pretrained(tmp_path)
    refined = refine_with_sam(masks, photo, str(tmp_path), points_per_side=POINTS)
    assert torch.equal(refined, refine_with_sam(masks, photo, *sam, points_per_side=POINTS))


def test_sam2(photo: Image.Image, masks: torch.Tensor, tmp_path: Path) -> None:
    image_processing = pytest.importorskip(
        "transformers.models.sam2.image_processing_sam2", reason="needs torchvision", exc_type=ImportError
    )
    torch.manual_seed(0)
    stages = {"embed_dim_per_stage": [12, 24, 48, 96], "num_attention_heads_per_stage": [1, 2, 4, 8]}
    stages |= {"blocks_per_stage": [1, 2, 1, 1], "window_size_per_stage": [4, 2, 2, 2]}
    stages |= {"global_attention_blocks": [2], "window_positional_embedding_background_size": [8, 8]}
    backbone = {"model_type": "sam2_hiera_det_model", "hidden_size": 12, "image_size": [128, 128], **stages}
    vision = {"backbone_config": backbone, "backbone_channel_list": [96, 48, 24, 12], "fpn_hidden_size": 32}
    vision["backbone_feature_sizes"] = [[32, 32], [16, 16], [8, 8]]
    prompt = {"hidden_size": 32, "image_size": 128, "patch_size": 16, "mask_input_channels": 8}
    decoder = {"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 32}
    config = Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    sizes = {"size": {"height": 128, "width": 128}, "mask_size": {"height": 32, "width": 32}}
    sam2 = Sam2Model(config).eval(), Sam2Processor(image_processing.Sam2ImageProcessor(**sizes))
    refined = refine_with_sam(masks, photo, *sam2, points_per_side=POINTS)
    assert torch.equal(refined, plainly_refined(masks, photo, *sam2))
    for part in sam2:
        part.save_pretrained(tmp_path)
    assert torch.equal(refine_with_sam(masks, photo, str(tmp_path), points_per_side=POINTS), refined)


def test_what_does_not_fit_is_refused(sam: tuple[SamModel, SamProcessor], photo: Image.Image) -> None:
    with pytest.raises(ValueError, match=r"shape \(classes, 40, 60\) for this photo, got \(2, 60, 40\)"):
        refine_with_sam(torch.zeros(2, WIDTH, HEIGHT), photo, *sam)
    with pytest.raises(ValueError, match="`points_per_side` must be at least 1, got 0"):
        refine_with_sam(torch.zeros(2, HEIGHT, WIDTH), photo, *sam, points_per_side=0)
    with pytest.raises(ValueError, match="give its `processor` too"):
        refine_with_sam(torch.zeros(2, HEIGHT, WIDTH), photo, sam[0])


@pytest.mark.slow
def test_the_script_draws_an_overlay(
    sam: tuple[SamModel, SamProcessor], tiny_model_folder: Path, photo: Image.Image, tmp_path: Path
) -> None:
    for part in sam:
        part.save_pretrained(tmp_path / "sam")
    photo.save(tmp_path / "photo.png")
    script = ROOT / "examples" / "refine_with_sam.py"
    command = [sys.executable, str(script), "photo.png", str(tiny_model_folder), "sam", "out.png", "cat", "grass"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "Wrote out.png\n" and Image.open(tmp_path / "out.png").width == 160
