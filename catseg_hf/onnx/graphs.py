# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What is traced: the model's computation, exactly, in the form that ONNX Runtime is fastest at.

Classes come in chunks, which a caller's threads share (`model.py`). Attention inside windows asks for one change of
layout in each direction, attention between classes for none, and the decoder convolves maps with channels first.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from catseg_hf.class_attention_catseg import LINEAR_ATTENTION_EPSILON, CatSegClassBlock
from catseg_hf.decoder_catseg import CatSegDecoderStage
from catseg_hf.layers_catseg import normalize
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation
from catseg_hf.spatial_attention_catseg import AttentionWindows, CatSegSpatialBlock
from catseg_hf.vocabulary_catseg import end_token_id


class TextGraph(nn.Module):
    """Prompts to normalised embeddings: what `get_text_embeds` does, without its search for equal prompts.

    Args:
        model ([`CatSegForSemanticSegmentation`]): The model whose text tower is exported.
    """

    def __init__(self, model: CatSegForSemanticSegmentation) -> None:
        super().__init__()
        self.clip = model.model.clip
        self.end_token_id = end_token_id(model.config)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """
        Args:
            input_ids (`torch.LongTensor` of shape `(T, P, L)`): Prompts, each with its end token.

        Returns:
            `torch.FloatTensor` of shape `(T, P, D)`.
        """
        prompts = input_ids.flatten(0, 1)
        hidden_states = self.clip.text_model(input_ids=prompts).last_hidden_state
        ends = (prompts == self.end_token_id).int().argmax(dim=-1)
        pooled = hidden_states[torch.arange(prompts.shape[0]), ends]
        return F.normalize(self.clip.text_projection(pooled), dim=-1).unflatten(0, input_ids.shape[:2])


class ImageGraph(nn.Module):
    """Images to everything that is the same for all classes.

    Args:
        model ([`CatSegForSemanticSegmentation`]): The model.
        spatial_graphs (`Sequence[SpatialGraph]`): One for each layer.
    """

    def __init__(self, model: CatSegForSemanticSegmentation, spatial_graphs: "Sequence[SpatialGraph]") -> None:
        super().__init__()
        self.model, self.decoder = model.model, model.decoder
        self.spatial_graphs = nn.ModuleList(spatial_graphs)

    def forward(
        self, pixel_values: torch.Tensor, backbone_pixel_values: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, ...]:
        """
        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Normalised images or views.
            backbone_pixel_values (`torch.FloatTensor` of shape `(B, 3, H', W')`, *optional*): For models with an
                appearance backbone.

        Returns:
            `tuple[torch.FloatTensor]`: Normalised embeddings of shape `(B, h, w, D)`; for each layer what guidance adds
            in its two spatial blocks, `(B, 2, h * w, 3 C)`; what it adds in the decoder's two stages,
            `(B, out, 2h, 2w)` and `(B, out, 4h, 4w)`.
        """
        image_embeds, guidance = self.model.encode_images(pixel_values, backbone_pixel_values)
        appearance = F.relu(self.model.aggregator.guidance_projection(guidance[0])).permute(0, 2, 3, 1).flatten(1, 2)
        outputs = [normalize(image_embeds), *(graph.guidance_terms(appearance) for graph in self.spatial_graphs)]
        upsamplings = self.decoder.guidance_upsamplings
        for i, stage in enumerate(self.decoder.stages):
            maps = guidance[i + 1] if upsamplings is None else upsamplings[i](guidance[i + 1])
            _, class_independent = stage.upsampling(F.relu(self.decoder.guidance_projections[i](maps)))
            outputs.append(class_independent[:, 0])
        return tuple(outputs)


class SpatialBlock(nn.Module):
    """A spatial block whose scaling and biases are part of its weights, and of what the guidance adds.

    Args:
        block ([`CatSegSpatialBlock`]): The model's.
        windows ([`AttentionWindows`]): Its windows.
    """

    def __init__(self, block: CatSegSpatialBlock, windows: AttentionWindows) -> None:
        super().__init__()
        self.norm1, self.norm2, self.mlp = block.norm1, block.norm2, block.mlp
        attention = block.attention
        self.output, self.guidance_qk = attention.output, attention.guidance_qk
        self.heads = (attention.num_heads, attention.head_dim)
        self.groups = windows.groups
        channels = attention.output.in_features
        scale = torch.cat([torch.full((channels,), attention.head_dim**-0.5), torch.ones(2 * channels)])
        self.register_buffer("scale", scale)
        self.register_buffer("bias", attention.qkv.bias.detach() * scale)
        self.register_buffer("weight", (attention.qkv.weight.detach() * scale[:, None]).T.contiguous())
        self.register_buffer("order", windows.order)
        self.register_buffer("inverse", windows.inverse)

    def guidance_term(self, guidance: torch.Tensor) -> torch.Tensor:
        """What guidance `(B, h * w, G)` adds to queries, keys and values: `(B, h * w, 3 C)`, window after window."""
        term = self.guidance_qk(guidance[:, self.order])
        return F.pad(term, (0, term.shape[-1] // 2)) * self.scale + self.bias

    def forward(self, maps: torch.Tensor, guidance_term: torch.Tensor) -> torch.Tensor:
        """Of and to shape `(T, h * w, C)`."""
        projected = self.norm1(maps).index_select(1, self.order) @ self.weight + guidance_term
        # T, h * w, 3 C -> q, k and v of shape (T, heads, h * w, d)
        query, key, value = projected.unflatten(-1, (3, *self.heads)).permute(2, 0, 3, 1, 4).unbind(0)
        sizes = [number * length for number, length in self.groups]
        parts = zip(*(each.split(sizes, dim=2) for each in (query, key, value)), self.groups, strict=True)
        attended = torch.cat([_attend(*group) for group in parts], dim=2)
        attended = self.output(attended.transpose(1, 2).flatten(2))
        maps = maps + attended.index_select(1, self.inverse)
        return maps + self.mlp(self.norm2(maps))


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, windows: tuple[int, int]) -> torch.Tensor:
    query, key, value = (each.unflatten(2, windows) for each in (query, key, value))
    return (torch.softmax(query @ key.transpose(-1, -2), dim=-1) @ value).flatten(2, 3)


class SpatialGraph(nn.Module):
    """The spatial blocks of a layer, over some classes; in the first layer behind the embedding of their costs.

    Args:
        model ([`CatSegForSemanticSegmentation`]): The model.
        layer (`int`): Number of the layer.
    """

    def __init__(self, model: CatSegForSemanticSegmentation, layer: int) -> None:
        super().__init__()
        config, aggregator = model.config, model.model.aggregator
        self.guidance_norm = aggregator.layers[layer].guidance_norm
        self.cost_embedding = aggregator.cost_embedding if layer == 0 else None
        side = config.image_size // config.patch_size
        positions = torch.arange(side * side).view(side, side)
        blocks = aggregator.layers[layer].spatial_blocks
        self.blocks = nn.ModuleList([SpatialBlock(block, block.windows(positions)) for block in blocks])

    def guidance_terms(self, appearance: torch.Tensor) -> torch.Tensor:
        """Of projected guidance `(B, h * w, G)` what `forward` takes, `(B, 2, h * w, 3 C)`."""
        guidance = self.guidance_norm(appearance)
        return torch.stack([block.guidance_term(guidance) for block in self.blocks], dim=1)

    def forward(self, maps: torch.Tensor, guidance: torch.Tensor) -> torch.Tensor:
        """
        Args:
            maps (`torch.FloatTensor` of shape `(T, h * w, C)`, or in the first layer `(T, P, h, w)`): Cost maps, or
                costs.
            guidance (`torch.FloatTensor` of shape `(2, h * w, 3 C)`): Result of `guidance_terms`, for one image.

        Returns:
            `torch.FloatTensor` of shape `(T, h * w, C)`.
        """
        if self.cost_embedding is not None:
            maps = self.cost_embedding(maps).flatten(2).transpose(1, 2)
        for block, term in zip(self.blocks, guidance.unbind(0), strict=True):
            maps = block(maps, term)
        return maps


class ClassGraph(nn.Module):
    """The class block of a layer, over all classes at some positions.

    Linear attention takes its sums over all pairs of channels and then drops those of different heads. That is a little
    more arithmetic, in products of full size, and no change of layout.

    Args:
        model ([`CatSegForSemanticSegmentation`]): The model.
        layer (`int`): Number of the layer.
    """

    def __init__(self, model: CatSegForSemanticSegmentation, layer: int) -> None:
        super().__init__()
        block: CatSegClassBlock = model.model.aggregator.layers[layer].class_block
        self.block, self.config = block, model.config
        self.text_guidance_projection = model.model.aggregator.text_guidance_projection
        num_heads, head_dim = block.heads
        head_of_channel = torch.arange(num_heads * head_dim) // head_dim
        is_of_head = head_of_channel[:, None] == torch.arange(num_heads)
        self.register_buffer("is_of_head", is_of_head.float())
        self.register_buffer("is_same_head", (head_of_channel[:, None] == head_of_channel).float())
        if self.config.class_padding_length > 0:
            key, value = block._padding_key_value(num_classes=0)  # heads, 1, d
            self.register_buffer("padding_key", key.detach().flatten())
            self.register_buffer("padding_value", value.detach().flatten())

    def forward(self, maps: torch.Tensor, class_embeds: torch.Tensor) -> torch.Tensor:
        """
        Args:
            maps (`torch.FloatTensor` of shape `(l, T, C)`): Cost maps at l positions.
            class_embeds (`torch.FloatTensor` of shape `(T, D)`): For each class one text embedding.

        Returns:
            `torch.FloatTensor` of shape `(l, T, C)`: What is to be added to the maps.
        """
        block = self.block
        guidance = F.relu(self.text_guidance_projection(class_embeds))
        normalized = block.norm1(maps)
        query = block.query(normalized) + block.guidance_query(guidance)
        key, value = block.key_value(normalized).chunk(2, dim=-1)
        key = key + block.guidance_key(guidance)
        # How many padding tokens there are, as a tensor: no graph is of one number of classes.
        num_padding = (self.config.class_padding_length - torch.ones_like(class_embeds[:, 0]).sum()).clamp(min=0)
        attend = self._linear_attention if self.config.class_attention == "linear" else self._softmax_attention
        maps = maps + attend(query, key, value, num_padding)
        normalized = block.norm2(maps)
        maps = maps + block.mlp(normalized)
        return maps + normalized if self.config.class_mlp_inner_residual else maps

    def _linear_attention(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, num_padding: torch.Tensor
    ) -> torch.Tensor:
        query, key = F.elu(query) + 1, F.elu(key) + 1
        key_value_sum, key_sum = key.transpose(-1, -2) @ value, key.sum(dim=-2)  # l, C, C and l, C
        if self.config.class_padding_length > 0:
            padding_key = (F.elu(self.padding_key) + 1) * num_padding
            key_value_sum = key_value_sum + padding_key[:, None] * self.padding_value
            key_sum = key_sum + padding_key
        attended = query @ (key_value_sum * self.is_same_head)
        divisor = query @ (key_sum[..., None] * self.is_of_head) + LINEAR_ATTENTION_EPSILON  # l, T, heads
        return (attended.unflatten(-1, self.block.heads) / divisor[..., None]).flatten(-2)

    def _softmax_attention(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, num_padding: torch.Tensor
    ) -> torch.Tensor:
        query = query * self.block.heads[1] ** -0.5
        query, key, value = (each.unflatten(-1, self.block.heads).transpose(1, 2) for each in (query, key, value))
        scores = query @ key.transpose(-1, -2)  # l, heads, T, T
        if self.config.class_padding_length > 0:
            padding_key, padding_value = (
                each.view(1, self.block.heads[0], 1, -1) for each in (self.padding_key, self.padding_value)
            )
            padding_scores = (query * padding_key).sum(dim=-1, keepdim=True) + num_padding.log()
            weights = torch.softmax(torch.cat([scores, padding_scores], dim=-1), dim=-1)
            attended = weights[..., :-1] @ value + weights[..., -1:] * padding_value
        else:
            attended = torch.softmax(scores, dim=-1) @ value
        return attended.transpose(1, 2).flatten(-2)


class DecoderStage(nn.Module):
    """The model's stage of the decoder, `stage`, with channels first."""

    def __init__(self, stage: CatSegDecoderStage) -> None:
        super().__init__()
        self.norm1, self.conv2, self.norm2 = stage.norm1, stage.conv2, stage.norm2
        upsampling = stage.upsampling
        upsampled_weight = upsampling.conv_weight[:, : len(upsampling.transposed_bias)]
        kernel = F.conv2d(upsampling.transposed_weight, upsampled_weight, padding=2)
        self.register_buffer("kernel", kernel.detach())

    def forward(self, maps: torch.Tensor, class_independent: torch.Tensor) -> torch.Tensor:
        """Maps `(T, in, h, w)` of some classes and a map `(out, 2h, 2w)` of all to `(T, out, 2h, 2w)`."""
        maps = F.conv_transpose2d(maps, self.kernel, stride=2, padding=1) + class_independent
        maps = F.relu(self.norm1(maps))
        return F.relu(self.norm2(self.conv2(maps)))


class DecoderGraph(nn.Module):
    """The decoder, over some classes.

    Args:
        model ([`CatSegForSemanticSegmentation`]): The model.
    """

    def __init__(self, model: CatSegForSemanticSegmentation) -> None:
        super().__init__()
        self.stages = nn.ModuleList([DecoderStage(stage) for stage in model.decoder.stages])
        self.head = model.decoder.head
        self.side = model.config.image_size // model.config.patch_size

    def forward(self, maps: torch.Tensor, upsampling_0: torch.Tensor, upsampling_1: torch.Tensor) -> torch.Tensor:
        """
        Args:
            maps (`torch.FloatTensor` of shape `(T, h * w, C)`): Aggregated cost maps.
            upsampling_0, upsampling_1 (`torch.FloatTensor` of shape `(out, 2h, 2w)` and `(out, 4h, 4w)`): What
                the guidance adds, for one image.

        Returns:
            `torch.FloatTensor` of shape `(T, 4h, 4w)`: Logits.
        """
        maps = maps.transpose(1, 2).unflatten(2, (self.side, self.side))
        for stage, class_independent in zip(self.stages, (upsampling_0, upsampling_1), strict=True):
            maps = stage(maps, class_independent)
        return self.head(maps).squeeze(1)
