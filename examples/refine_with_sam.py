# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Sharpens the masks of CAT-Seg with Segment Anything, as the second demo of CAT-Seg's authors does.

    python examples/refine_with_sam.py PHOTO MODEL SAM OUTPUT LABEL [LABEL ...]
    python examples/refine_with_sam.py photo.jpg path/to/model facebook/sam-vit-base overlay.png cat grass sky

Segment Anything (SAM) finds regions with sharp edges but knows no words; CAT-Seg knows words. So SAM proposes regions
around a grid of points, and each region gets the class that most of its pixels have in CAT-Seg's masks. (Facts from
`discrete_semantic_inference` in `cat_seg/cat_seg_demo_model.py` of the original's branch `demo`: 32 x 32 points, no
region left out. There a pixel without a region gets the first class; here it keeps its own.)

SAM is a folder or a name on the Hub. It can be a SAM 2 as well (`facebook/sam2-hiera-small`), where torchvision is
installed, which its image processor needs.
"""

import sys

import torch
from PIL import Image
from transformers import AutoConfig, Sam2Model, Sam2Processor, SamModel, SamProcessor


# Values of proposed regions to keep in memory at a time (1 GB in float32).
MAX_ELEMENTS = 2**28


@torch.inference_mode()
def refine_with_sam(
    masks: torch.Tensor,
    image: Image.Image,
    model: str | SamModel | Sam2Model = "facebook/sam-vit-base",
    processor: SamProcessor | Sam2Processor | None = None,
    points_per_side: int = 32,
) -> torch.Tensor:
    """Gives the regions that SAM sees to the classes that CAT-Seg sees in them.

    Where regions overlap, a pixel goes to the most stable one: that which changes least when SAM's logits are cut at 1
    or -1 instead of 0.

    Args:
        masks (`torch.BoolTensor` of shape `(T, height, width)`):
            Where the T classes are; a pixel in none of them has no class, and a region with most pixels in none has
            none either.
        image (`PIL.Image.Image`): The photo, RGB, of that height and width.
        model (`str`, `SamModel` or `Sam2Model`, *optional*, defaults to `"facebook/sam-vit-base"`):
            The SAM, or its folder or name on the Hub.
        processor (`SamProcessor` or `Sam2Processor`, *optional*): That of `model`, if this is an object.
        points_per_side (`int`, *optional*, defaults to 32): Points of the grid along each side of the photo.

    Returns:
        `torch.BoolTensor` of shape `(T, height, width)`: The refined masks, on the CPU, none over another.

    Raises:
        ValueError: If `masks` does not fit the photo, `points_per_side` is less than 1, or a model comes without its
            processor.
    """
    if masks.ndim != 3 or masks.shape[1:] != (image.height, image.width):
        raise ValueError(
            f"`masks` must be of shape (classes, {image.height}, {image.width}) for this photo, got "
            f"{tuple(masks.shape)}."
        )
    if points_per_side < 1:
        raise ValueError(f"`points_per_side` must be at least 1, got {points_per_side}.")
    if isinstance(model, str):
        # Checkpoints of SAM 2 name its video model, in which the one for images is a part.
        is_sam2 = AutoConfig.from_pretrained(model).model_type.startswith("sam2")
        processor = (Sam2Processor if is_sam2 else SamProcessor).from_pretrained(model)
        model = (Sam2Model if is_sam2 else SamModel).from_pretrained(model).eval()
    elif processor is None:
        raise ValueError("`model` is given as an object: give its `processor` too.")

    # Class T stands for none.
    num_classes, height, width = masks.shape
    masks = masks.bool().to(model.device)
    class_ids = torch.where(masks.any(dim=0), masks.int().argmax(dim=0), num_classes)
    stability = torch.full((height, width), -1.0, device=model.device)
    refined = class_ids.clone()

    steps = (torch.arange(points_per_side) + 0.5) / points_per_side
    grid = torch.cartesian_prod(steps * width, steps * height)[:, None].tolist()
    inputs = processor(images=image, input_points=[grid], return_tensors="pt").to(model.device)
    embeddings = model.get_image_embeddings(inputs["pixel_values"])
    # SAM draws three regions of different size around each point.
    batch_size = max(1, min(64, MAX_ELEMENTS // (3 * height * width)))
    for points in inputs["input_points"].float().split(batch_size, dim=1):
        outputs = model(image_embeddings=embeddings, input_points=points)
        sizes = [inputs[name] for name in ("original_sizes", "reshaped_input_sizes") if name in inputs]
        logits = processor.post_process_masks(outputs.pred_masks, *sizes, binarize=False)[0].flatten(0, 1)
        for region_logits in logits:
            region = region_logits > 0
            if not region.any():
                continue
            score = (region_logits > 1).sum() / (region_logits > -1).sum()
            wins = region & (score > stability)
            refined[wins] = class_ids[region].bincount(minlength=num_classes + 1).argmax()
            stability[wins] = score
    return (refined == torch.arange(num_classes, device=model.device)[:, None, None]).cpu()


def main() -> None:
    """Segments a photo, refines the masks, draws them."""
    from transformers.image_utils import load_image

    from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor
    from catseg_hf.pictures import overlay

    photo_path, model_path, sam_path, output_path, *labels = sys.argv[1:]
    processor = CatSegProcessor.from_pretrained(model_path)
    model = CatSegForSemanticSegmentation.from_pretrained(model_path).eval()
    image = load_image(photo_path)
    with torch.inference_mode():
        outputs = model(**processor(images=image, text=labels, return_tensors="pt"))
    sizes = [(image.height, image.width)]
    class_ids = processor.post_process_semantic_segmentation(outputs, target_sizes=sizes)[0]

    masks = refine_with_sam(class_ids == torch.arange(len(labels))[:, None, None], image, sam_path)
    overlay(image, masks.int().argmax(dim=0), labels).save(output_path)
    print(f"Wrote {output_path}")


if __name__ == "__main__":
    main()
