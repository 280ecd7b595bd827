# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The port in MMSegmentation (`projects/CAT-Seg`): its keys and its settings."""

from ..configuration_catseg import CatSegConfig
from ..prompts_catseg import IMAGENET_TEMPLATES
from .aggregator import class_attention_moves, common_config, side_of_square, upsampling_moves
from .backbones import mmseg_resnet_config, mmseg_resnet_moves, mmseg_swin_config, mmseg_swin_moves
from .clip import clip_config, clip_moves
from .cvpr import PATCHES_PER_SIDE
from .moves import Move, rename
from .options import ConversionOptions
from .shapes import Shapes


TITLE = "MMSegmentation (projects/CAT-Seg)"
CLIP = "backbone.clip_model."
BACKBONE = "backbone.feature_extractor."
AGGREGATOR = "neck."
DECODER = "decode_head."
DROP_PATH_RATE = 0.3
VOCABULARY = "ade20k_150"
TRAINED_ON = "ADE20K, PASCAL Context or COCO-Stuff, by its configuration"
DROPPED = {
    r"neck\.layers\.\d+\.spatial_agg\.block_\d\.attn\.w_msa\.relative_position_index": "a buffer nothing uses",
    r"backbone\.feature_extractor\.stages\.\d+\.blocks\.\d+\.attn\.w_msa\.relative_position_index": (
        "computed from the window size"
    ),
}


def matches(shapes: Shapes) -> bool:
    """Whether a checkpoint with these keys is one of this code base."""
    return f"{AGGREGATOR}conv1.weight" in shapes and f"{DECODER}conv_seg.weight" in shapes


def model_config(shapes: Shapes, options: ConversionOptions) -> CatSegConfig:
    """Configuration of the model in a checkpoint.

    Args:
        shapes (`Shapes`): Shapes of the checkpoint's tensors.
        options (`ConversionOptions`): What they do not tell.

    Returns:
        `CatSegConfig`.
    """
    clip = clip_config(shapes, CLIP, options.vision_heads, options.text_heads, options.hidden_act)
    has_resnet = f"{BACKBONE}conv1.weight" in shapes
    if has_resnet:
        backbone = mmseg_resnet_config(shapes, BACKBONE)
    else:
        drop_path_rate = DROP_PATH_RATE if options.drop_path_rate is None else options.drop_path_rate
        backbone = mmseg_swin_config(shapes, BACKBONE, drop_path_rate)
    pooling = list(options.inference_pooling_size or ((1, 1) if has_resnet else (6, 6)))
    fields = {
        "image_size": PATCHES_PER_SIDE * clip.vision_config.patch_size,
        "guidance_layers": None,
        "guidance_layer_channels": None,
        "dense_residual": "patch",
        "prompt_templates": list(IMAGENET_TEMPLATES),
        "synonyms": "mean",
        "class_padding_length": 0,
        "truncate_classes": False,
        "class_mlp_inner_residual": True,
        "train_pooling_size": pooling,
        "inference_pooling_size": pooling,
        "decoder_dropout": 0.1,
        "semantic_loss": "cross_entropy",
        "clip_training": "vision_attention",
        **common_config(shapes, AGGREGATOR, "spatial_agg.block_1.ffn.layers.0.0"),
        "decoder_hidden_sizes": [shapes.of(f"{DECODER}decoder{stage}.conv1.conv.weight", 4)[0] for stage in (1, 2)],
        "decoder_guidance_sizes": [
            shapes.of(f"{DECODER}decoder_guidance_projection.{stage}.0.weight", 4)[0] for stage in (0, 1)
        ],
    }
    index = f"{AGGREGATOR}layers.0.spatial_agg.block_1.attn.w_msa.relative_position_index"
    if index in shapes:
        fields["window_size"] = side_of_square(shapes.of(index, 2)[0])
    return CatSegConfig(clip_config=clip, backbone_config=backbone, **{**fields, **options.config_fields()})


def _spatial_attention_moves(source: str, target: str, hidden_size: int, guidance_size: int) -> list[Move]:
    # q and k are the rows of one projection here, whose columns see [hidden states, guidance].
    hidden, guidance = (None, (0, hidden_size)), (None, (hidden_size, hidden_size + guidance_size))
    query_key_rows, value_rows = (0, 2 * hidden_size), (2 * hidden_size, 3 * hidden_size)
    return [
        Move(f"{source}.qk.weight", f"{target}.qkv.weight", hidden, (query_key_rows, None)),
        Move(f"{source}.qk.weight", f"{target}.guidance_qk.weight", guidance),
        Move(f"{source}.qk.bias", f"{target}.qkv.bias", (), (query_key_rows,)),
        Move(f"{source}.v.weight", f"{target}.qkv.weight", (), (value_rows, None)),
        Move(f"{source}.v.bias", f"{target}.qkv.bias", (), (value_rows,)),
        *rename(f"{source}.proj", f"{target}.output"),
    ]


def moves(config: CatSegConfig) -> list[Move]:
    """The mapping of a checkpoint.

    Args:
        config (`CatSegConfig`): The model in it.

    Returns:
        `list[Move]`.
    """
    target = "model.aggregator."
    backbone = config.backbone_config
    backbone_moves = mmseg_resnet_moves if backbone.model_type == "resnet" else mmseg_swin_moves
    mapping = [
        *clip_moves(config.clip_config, CLIP),
        *backbone_moves(backbone, BACKBONE),
        *rename(f"{AGGREGATOR}conv1", f"{target}cost_embedding"),
        *rename(f"{AGGREGATOR}guidance_projection.0", f"{target}guidance_projection"),
        *rename(f"{AGGREGATOR}text_guidance_projection.0", f"{target}text_guidance_projection"),
    ]
    for layer in range(config.num_hidden_layers):
        theirs, ours = f"{AGGREGATOR}layers.{layer}.", f"{target}layers.{layer}."
        mapping += rename(f"{theirs}spatial_agg.guidance_norm", f"{ours}guidance_norm")
        for index in (0, 1):
            block, our_block = f"{theirs}spatial_agg.block_{index + 1}", f"{ours}spatial_blocks.{index}"
            for name, our_name in _MLP_AND_NORMS.items():
                mapping += rename(f"{block}.{name.format(mlp='ffn')}", f"{our_block}.{our_name}")
            mapping += _spatial_attention_moves(
                f"{block}.attn.w_msa",
                f"{our_block}.attention",
                config.hidden_size,
                config.appearance_guidance_size,
            )
        block, our_block = f"{theirs}class_agg", f"{ours}class_block"
        mapping += class_attention_moves(f"{block}.attention", our_block, config.hidden_size, config.text_guidance_size)
        for name, our_name in _MLP_AND_NORMS.items():
            mapping += rename(f"{block}.{name.format(mlp='MLP')}", f"{our_block}.{our_name}")
    for stage in (0, 1):
        mapping += rename(f"{DECODER}decoder_guidance_projection.{stage}.0", f"decoder.guidance_projections.{stage}")
        block, our_block = f"{DECODER}decoder{stage + 1}.", f"decoder.stages.{stage}."
        mapping += upsampling_moves(f"{block}up", f"{block}conv1.conv", f"{our_block}upsampling")
        mapping += rename(f"{block}conv1.gn", f"{our_block}norm1")
        mapping += rename(f"{block}conv2.conv", f"{our_block}conv2", ["weight"])
        mapping += rename(f"{block}conv2.gn", f"{our_block}norm2")
    return [*mapping, *rename(f"{DECODER}conv_seg", "decoder.head")]


_MLP_AND_NORMS = {
    "norm1": "norm1",
    "norm2": "norm2",
    "{mlp}.layers.0.0": "mlp.fc1",
    "{mlp}.layers.1": "mlp.fc2",
}
