# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What the tensors of a checkpoint do not tell."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ConversionOptions:
    """What cannot be read from the shapes of a checkpoint's tensors. `None` everywhere: the released models' values.

    Args:
        vision_heads (`int`, *optional*):
            Heads of CLIP's vision tower: one per 64 channels, 16 in OpenCLIP's ViT-H and ViT-bigG.
        text_heads (`int`, *optional*): Heads of CLIP's text tower: one per 64 channels.
        hidden_act (`str`, *optional*): CLIP's activation: `"quick_gelu"` (OpenAI) or `"gelu"` (OpenCLIP).
        image_size (`int`, *optional*): Side in pixels of the views that CLIP sees: 24 patches.
        num_attention_heads (`int`, *optional*): Heads of the aggregator: 4.
        guidance_layers (`tuple[int, int]`, *optional*):
            CLIP vision layers that guide the decoder (CVPR 2024): (3, 7) for ViT-B/16, (7, 15) for the others.
        class_padding_length (`int`, *optional*): Classes that class attention always sees (CVPR 2024): 256.
        class_attention (`str`, *optional*): `"linear"` or `"softmax"`: linear.
        window_size (`int`, *optional*): Side of the aggregator's windows, where no mask is stored: 12.
        train_pooling_size (`tuple[int, int]`, *optional*):
            Pooling before class attention in training: (2, 2); in MMSegmentation as at inference.
        inference_pooling_size (`tuple[int, int]`, *optional*):
            The same at inference: (1, 1); in MMSegmentation (1, 1) with ResNet (as its ADE20K and PASCAL Context
            configurations) and (6, 6) with Swin (as its COCO-Stuff configurations).
        prompt_templates (`tuple[str, ...]`, *optional*):
            Sentences with one `{}` each: the one of CVPR 2024, the 80 of ImageNet in the others.
        synonyms (`str`, *optional*): `"first"` (CVPR 2024), `"mean"` (the others) or `"max"`.
        drop_path_rate (`float`, *optional*): Stochastic depth of a Swin backbone in training: 0.3.
        decoder_dropout (`float`, *optional*): Dropout before the last convolution in training: 0.1 in MMSegmentation.
        backbone_training (`bool`, *optional*):
            Whether the appearance backbone was trained: all but the Swin of v1.

    Example:

    ```python
    >>> from catseg_hf.conversion import ConversionOptions, convert_checkpoint

    >>> options = ConversionOptions(inference_pooling_size=(2, 2))
    >>> report = convert_checkpoint("model_base.pth", "pooled", options=options)
    ```
    """

    vision_heads: int | None = None
    text_heads: int | None = None
    hidden_act: str | None = None
    image_size: int | None = None
    num_attention_heads: int | None = None
    guidance_layers: tuple[int, int] | None = None
    class_padding_length: int | None = None
    class_attention: str | None = None
    window_size: int | None = None
    train_pooling_size: tuple[int, int] | None = None
    inference_pooling_size: tuple[int, int] | None = None
    prompt_templates: tuple[str, ...] | None = None
    synonyms: str | None = None
    drop_path_rate: float | None = None
    decoder_dropout: float | None = None
    backbone_training: bool | None = None

    def config_fields(self) -> dict[str, Any]:
        """The options that are fields of [`CatSegConfig`] and were given."""
        elsewhere = ("vision_heads", "text_heads", "hidden_act", "drop_path_rate")
        fields = {name: value for name, value in asdict(self).items() if value is not None and name not in elsewhere}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
