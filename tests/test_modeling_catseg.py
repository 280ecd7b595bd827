# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The model by itself: shapes, vocabularies, no hidden state, saving, dtypes, training, and what it refuses."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import END, backbone_fields, random_images, random_input_ids, tiny_config, tiny_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPModel

from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation, CatSegModel


VARIANTS: dict[str, dict[str, Any]] = {
    "cvpr": {},
    "softmax": {"class_attention": "softmax"},
    "stem": {"stem_channels": [8, 16, 16, 16]},
    "templates": {"prompt_templates": ["a {}", "the {}", "one {}"], "synonyms": "mean"},
    "resnet": {**backbone_fields("resnet"), "freeze_batch_norm": True},
    "swin": {**backbone_fields("swin"), "semantic_loss": "cross_entropy", "class_mlp_inner_residual": True},
}


def inputs_for(model: CatSegForSemanticSegmentation, *views: int, seed: int = 0) -> dict[str, torch.Tensor]:
    inputs = {"pixel_values": random_images(*views, 3, 64, 64, seed=seed)}
    if model.model.backbone is not None:
        inputs["backbone_pixel_values"] = random_images(*views, 3, 128, 128, seed=seed + 1)
    return inputs


def logits_of(model: CatSegForSemanticSegmentation, **inputs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(**inputs).logits


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> CatSegForSemanticSegmentation:
    return tiny_model(**VARIANTS[request.param])


# --- Shapes and views ---


def test_shapes(variant: CatSegForSemanticSegmentation) -> None:
    input_ids = random_input_ids(5, len(variant.config.prompt_templates), 8)
    assert logits_of(variant, **inputs_for(variant, 2), input_ids=input_ids).shape == (2, 5, 32, 32)
    assert logits_of(variant, **inputs_for(variant, 2, 3), input_ids=input_ids).shape == (2, 3, 5, 32, 32)


def test_views_and_batches_equal_single_images(variant: CatSegForSemanticSegmentation) -> None:
    input_ids = random_input_ids(9, len(variant.config.prompt_templates), 8)
    inputs = inputs_for(variant, 2, 3)
    logits = logits_of(variant, **inputs, input_ids=input_ids)
    for image in range(2):
        for view in range(3):
            single = {name: tensor[image, view][None] for name, tensor in inputs.items()}
            torch.testing.assert_close(logits_of(variant, **single, input_ids=input_ids)[0], logits[image, view])


def test_view_geometry_passes_through() -> None:
    model = tiny_model()
    boxes, sizes = torch.arange(8).view(1, 2, 4), torch.tensor([[640, 480]])
    with torch.no_grad():
        outputs = model(random_images(1, 2, 3, 64, 64), view_boxes=boxes, resized_sizes=sizes)
    assert torch.equal(outputs.view_boxes, boxes) and torch.equal(outputs.resized_sizes, sizes)


@pytest.mark.parametrize("size", [(8, 8), (24, 72), (56, 40)])
def test_any_size_of_whole_patches(size: tuple[int, int]) -> None:
    logits = logits_of(tiny_model(), pixel_values=random_images(1, 3, *size))
    assert logits.shape[-2:] == (size[0] // 2, size[1] // 2) and logits.isfinite().all()


@pytest.mark.parametrize("num_classes", [1, 1000])
def test_number_of_classes(num_classes: int) -> None:
    model = tiny_model()
    input_ids = random_input_ids(num_classes, 12)
    logits = logits_of(model, pixel_values=random_images(1, 3, 64, 64), input_ids=input_ids)
    assert logits.shape == (1, num_classes, 32, 32)
    kept = (logits != -100).all(dim=-1).all(dim=-1).sum()
    assert kept == min(num_classes, model.config.class_padding_length)


def test_truncation_keeps_the_most_similar_classes_of_each_image() -> None:
    model = tiny_model()
    inputs = {"pixel_values": random_images(3, 3, 64, 64), "text_embeds": random_images(20, 1, 24)}
    with torch.no_grad():
        base = model.model(**inputs)
        logits = model(**inputs).logits
        model.config.truncate_classes = False
        everything = model.model(**inputs)
        all_logits = model(**inputs).logits
    best = everything.cost_volume.flatten(2).amax(dim=-1)
    assert all_logits.min() > -100 and everything.kept_classes is None
    for image in range(3):
        expected = set(best[image].topk(6).indices.tolist())
        assert set(base.kept_classes[image].tolist()) == expected
        assert {i for i in range(20) if (logits[image, i] != -100).any()} == expected
    assert len({tuple(kept.tolist()) for kept in base.kept_classes}) > 1


def test_early_rejection_leaves_out_classes_that_no_place_is_near_to() -> None:
    model = tiny_model(truncate_classes=False)
    inputs = {"pixel_values": random_images(3, 3, 64, 64), "text_embeds": random_images(20, 1, 24)}
    with torch.no_grad():
        best = model.model(**inputs).cost_volume.flatten(2).amax(dim=-1)
        exact = model(**inputs).logits
        model.config.early_rejection = 0.25
        logits = model(**inputs).logits
        alone = model(pixel_values=inputs["pixel_values"][1:2], text_embeds=inputs["text_embeds"]).logits
        model.config.early_rejection = 2
        torch.testing.assert_close(model(**inputs).logits, exact)
    kept = best >= best.amax(dim=-1, keepdim=True) - 0.25
    assert kept.any() and not kept.all() and not torch.equal(kept[1], kept[2])
    assert torch.equal((logits != -100).flatten(2).any(dim=-1), kept)
    torch.testing.assert_close(logits[1:2], alone)
    # The classes that stay see fewer others: as if only they had been asked for.
    with torch.no_grad():
        few = model(pixel_values=inputs["pixel_values"][1:2], text_embeds=inputs["text_embeds"][kept[1]]).logits
    torch.testing.assert_close(logits[1, kept[1]], few[0])


def test_base_model_output(variant: CatSegForSemanticSegmentation) -> None:
    with torch.no_grad():
        outputs = variant.model(**inputs_for(variant, 2), output_hidden_states=True, output_attentions=True)
    num_templates = len(variant.config.prompt_templates)
    assert outputs.last_hidden_state.shape == (2, 2, 8, 8, 16)
    assert outputs.cost_volume.shape == (2, 2, num_templates, 8, 8) and outputs.cost_volume.abs().max() <= 1.001
    assert outputs.image_embeds.shape == (2, 8, 8, 24)
    assert [tuple(maps.shape[-2:]) for maps in outputs.guidance][0] == (8, 8)
    assert [tuple(states.shape) for states in outputs.hidden_states] == [(2, 2, 64, 16)] * 3
    torch.testing.assert_close(outputs.hidden_states[-1].view(2, 2, 8, 8, 16), outputs.last_hidden_state)
    assert [tuple(weights.shape) for weights in outputs.attentions] == [(2, 2, 2, 2, 64, 64)] * 2
    torch.testing.assert_close(outputs.attentions[0].sum(dim=-1), torch.ones(2, 2, 2, 2, 64))
    with torch.no_grad():
        tuple_outputs = variant.model(**inputs_for(variant, 2), return_dict=False)
    torch.testing.assert_close(tuple_outputs[0], outputs.last_hidden_state, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        selected = variant(**inputs_for(variant, 2), output_hidden_states=[0, -1]).hidden_states
    assert selected[1] is None
    torch.testing.assert_close(selected[2], outputs.hidden_states[2], rtol=1e-4, atol=1e-5)


def test_sdpa_equals_eager(variant: CatSegForSemanticSegmentation) -> None:
    sdpa = logits_of(variant, **inputs_for(variant, 2))
    variant.set_attn_implementation("eager")
    eager = logits_of(variant, **inputs_for(variant, 2))
    torch.testing.assert_close(eager, sdpa, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_compiles_without_graph_breaks() -> None:
    model = tiny_model()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    images = random_images(1, 3, 64, 64)
    for num_classes in (5, 9):
        text_embeds = random_images(num_classes, 1, 24)
        torch.testing.assert_close(
            logits_of(compiled, pixel_values=images, text_embeds=text_embeds),
            logits_of(model, pixel_values=images, text_embeds=text_embeds),
        )


# --- Text ---


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_flops_can_be_counted_in_every_mode(variant: CatSegForSemanticSegmentation, mode: Callable) -> None:
    counts = []
    for num_classes in (3, 9):  # fewer than padding tokens, and more
        input_ids = random_input_ids(num_classes, len(variant.config.prompt_templates), 8)
        with mode(), FlopCounterMode(display=False) as counter:
            variant(**inputs_for(variant, 1), input_ids=input_ids)
        counts.append(counter.get_total_flops())
    assert 0 < counts[0] < counts[1]


def test_the_profiler_sees_the_same_in_every_mode() -> None:
    model, counts = tiny_model(), []
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode(), torch.profiler.profile(with_flops=True, record_shapes=True) as profile:
            model(**inputs_for(model, 1), input_ids=random_input_ids(3, 1, 8))
        counts.append(sum(event.flops for event in profile.key_averages()))
    assert counts[0] > 0 and counts == counts[:1] * 3


def test_padding_after_the_end_token_changes_nothing() -> None:
    model = tiny_model()
    input_ids = random_input_ids(4, 1, 9)
    longer = torch.cat([input_ids, torch.zeros(4, 1, 5, dtype=torch.long)], dim=-1)
    padded_with_end = longer.masked_fill((longer == 0), END)
    expected = model.get_text_embeds(input_ids)
    assert expected.shape == (4, 1, 24)
    torch.testing.assert_close(expected.norm(dim=-1), torch.ones(4, 1))
    for other in (longer, padded_with_end):
        torch.testing.assert_close(model.get_text_embeds(other), expected)
    torch.testing.assert_close(model.get_text_embeds(input_ids[:, 0]), expected)


def test_text_embeds_are_those_of_clip() -> None:
    model = tiny_model()
    input_ids = random_input_ids(4, 10)
    features = model.model.clip.get_text_features(input_ids).pooler_output
    expected = torch.nn.functional.normalize(features, dim=-1)
    torch.testing.assert_close(model.get_text_embeds(input_ids)[:, 0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [None, "resnet", "swin"])
def test_images_that_were_embedded_before_give_the_same(kind: str | None) -> None:
    model = tiny_model(**({} if kind is None else backbone_fields(kind))).eval()
    pixel_values = random_images(2, 3, 3, 32, 32)
    appearance = None if kind is None else random_images(2, 3, 3, 64, 64, seed=1)
    with torch.inference_mode():
        image_embeds = model.get_image_embeds(pixel_values, appearance)
        for num_classes in (3, 5):
            text_embeds = model.get_text_embeds(random_input_ids(num_classes, 1, 9))
            expected = model(pixel_values, text_embeds=text_embeds, backbone_pixel_values=appearance).logits
            assert torch.equal(model(image_embeds=image_embeds, text_embeds=text_embeds).logits, expected)
            second = model(image_embeds=tuple(each[1:] for each in image_embeds), text_embeds=text_embeds).logits
            torch.testing.assert_close(second, expected[1:])


def test_image_embeds_that_do_not_fit_are_refused() -> None:
    model = tiny_model().eval()
    pixel_values = random_images(1, 3, 32, 32)
    image_embeds = model.get_image_embeds(pixel_values)
    with pytest.raises(ValueError, match="leave those out"):
        model(pixel_values, random_input_ids(2, 9), image_embeds=image_embeds)
    for wrong in (image_embeds[:2], image_embeds[::-1], tuple(each[0] for each in image_embeds)):
        with pytest.raises(ValueError, match="`get_image_embeds` of this model"):
            model(input_ids=random_input_ids(2, 9), image_embeds=wrong)


def test_equal_prompts_are_encoded_once_and_share_gradients() -> None:
    model = tiny_model().train()
    input_ids = random_input_ids(3, 1, 9)
    repeated = input_ids[[0, 1, 0, 2, 0]]
    embeds = model.get_text_embeds(repeated)
    assert torch.equal(embeds[0], embeds[2]) and torch.equal(embeds[0], embeds[4])
    embeds.sum().backward()
    weight = model.model.clip.text_model.encoder.layers[0].self_attn.v_proj.weight
    summed = weight.grad.clone()
    weight.grad = None
    sum(model.get_text_embeds(row[None]).sum() for row in repeated).backward()
    torch.testing.assert_close(weight.grad, summed, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", ["first", "mean", "max"])
def test_synonyms(rule: str) -> None:
    model = tiny_model(synonyms=rule)
    input_ids = random_input_ids(2, 1, 3, 9)
    input_ids[1, :, 1:] = 0  # the second class has one name
    images = random_images(1, 3, 64, 64)
    single = torch.stack([model.get_text_embeds(input_ids[0, :, [s]])[0] for s in range(3)])  # S, P, D
    embeds = model.get_text_embeds(input_ids)
    if rule == "first":
        torch.testing.assert_close(embeds[0], single[0])
    elif rule == "mean":
        torch.testing.assert_close(embeds[0], torch.nn.functional.normalize(single.mean(dim=0), dim=-1))
    else:
        assert embeds.shape == (2, 1, 3, 24) and (embeds[1, :, 1:] == 0).all()
        with torch.no_grad():
            costs = model.model(images, input_ids=input_ids).cost_volume
            each = [model.model(images, input_ids=input_ids[:1, :, s]).cost_volume for s in range(3)]
        torch.testing.assert_close(costs[:, :1], torch.cat(each, dim=1).amax(dim=1, keepdim=True))
    with torch.no_grad():
        torch.testing.assert_close(model(images, text_embeds=embeds).logits, model(images, input_ids=input_ids).logits)


def fresh_logits(model: CatSegForSemanticSegmentation, **inputs: torch.Tensor) -> torch.Tensor:
    """Those of a model that has just been made, with the same weights."""
    fresh = CatSegForSemanticSegmentation(model.config).eval()
    fresh.load_state_dict({name: tensor.detach().clone() for name, tensor in model.state_dict().items()})
    return logits_of(fresh, **inputs)


def write_through_data(weight: torch.nn.Parameter) -> None:
    weight.data.mul_(3)


def write_through_foreach(weight: torch.nn.Parameter) -> None:
    torch._foreach_mul_([weight.data], 3.0)


def write_through_numpy(weight: torch.nn.Parameter) -> None:
    weight.detach().numpy()[:] *= 3


def write_in_inference_mode(weight: torch.nn.Parameter) -> None:
    with torch.inference_mode():
        weight.mul_(3)


def step_an_optimizer(weight: torch.nn.Parameter) -> None:
    weight.grad = torch.ones_like(weight)
    torch.optim.AdamW([weight], lr=0.5).step()


@pytest.mark.parametrize(
    "write",
    [write_through_data, write_through_foreach, write_through_numpy, write_in_inference_mode, step_an_optimizer],
)
@pytest.mark.parametrize("tower", ["text_model", "vision_model"])
def test_logits_follow_the_weights_however_they_were_written(write: Callable, tower: str) -> None:
    model = tiny_model()
    inputs = {"pixel_values": random_images(1, 3, 64, 64), "input_ids": random_input_ids(3, 1, 9)}
    before = logits_of(model, **inputs)
    write(getattr(model.model.clip, tower).encoder.layers[0].self_attn.v_proj.weight)
    after = logits_of(model, **inputs)
    assert not torch.allclose(after, before, atol=1e-3)
    assert torch.equal(after, fresh_logits(model, **inputs))


def test_logits_follow_adapters_that_come_and_go() -> None:
    peft = pytest.importorskip("peft")
    model = tiny_model()
    inputs = {"pixel_values": random_images(1, 3, 64, 64), "input_ids": random_input_ids(3, 1, 9)}
    bare = logits_of(model, **inputs)
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    adapted.eval()
    with_adapter = logits_of(adapted, **inputs)
    assert not torch.allclose(with_adapter, bare, atol=1e-3)
    with adapted.disable_adapter():
        assert torch.equal(logits_of(adapted, **inputs), bare)
    assert torch.equal(logits_of(adapted, **inputs), with_adapter)
    adapted.merge_adapter()
    torch.testing.assert_close(logits_of(adapted, **inputs), with_adapter, atol=1e-4, rtol=1e-4)
    adapted.unmerge_adapter()
    torch.testing.assert_close(logits_of(adapted, **inputs), with_adapter, atol=1e-4, rtol=1e-4)
    merged = adapted.merge_and_unload()
    torch.testing.assert_close(logits_of(merged, **inputs), with_adapter, atol=1e-4, rtol=1e-4)
    assert torch.equal(logits_of(merged, **inputs), fresh_logits(merged, **inputs))


def test_vocabulary_is_kept_with_the_model(tmp_path: Path) -> None:
    model = tiny_model()
    input_ids = random_input_ids(3, 1, 2, 9)
    input_ids[0, :, 1] = 0
    images = random_images(1, 3, 64, 64)
    expected = logits_of(model, pixel_values=images, input_ids=input_ids)
    model.set_vocabulary(["cat", ["dog", "puppy"], ["grass, wet", "lawn"]], input_ids)
    assert model.config.id2label == {0: "cat", 1: "dog, puppy", 2: "grass, wet, lawn"}
    assert model.config.vocabulary_synonym_counts == [1, 2, 2]
    torch.testing.assert_close(logits_of(model, pixel_values=images), expected)
    model.save_pretrained(tmp_path)
    loaded = CatSegForSemanticSegmentation.from_pretrained(tmp_path)
    assert loaded.config.id2label == model.config.id2label
    assert loaded.model.vocabulary.input_ids.dtype == torch.int32
    torch.testing.assert_close(logits_of(loaded, pixel_values=images), expected)
    loaded.set_vocabulary(["sky"], random_input_ids(1, 1, 9))
    assert logits_of(loaded, pixel_values=images).shape[1] == 1


def test_new_names_never_get_old_classes() -> None:
    model = tiny_model()
    model.set_vocabulary(["cat", "grass"], random_input_ids(2, 1, 9))
    model.config.id2label = {0: "dog", 1: "grass"}
    with pytest.raises(ValueError, match=r"set_vocabulary"):
        model(random_images(1, 3, 64, 64))
    model.config.id2label = {0: "cat", 1: "grass"}
    model.config.prompt_templates = ["one {}"]
    with pytest.raises(ValueError, match=r"set_vocabulary"):
        model(random_images(1, 3, 64, 64))
    named = CatSegForSemanticSegmentation(tiny_config(id2label={0: "cat", 1: "grass"}))
    with pytest.raises(ValueError, match=r"\(cat, grass\)"):
        named(random_images(1, 3, 64, 64))


# --- Saving, loading, dtypes ---


def test_saved_model_is_equal(variant: CatSegForSemanticSegmentation, tmp_path: Path) -> None:
    expected = logits_of(variant, **inputs_for(variant, 2))
    variant.save_pretrained(tmp_path)
    loaded, info = CatSegForSemanticSegmentation.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert not loaded.training
    weights = loaded.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in variant.state_dict().items())
    torch.testing.assert_close(logits_of(loaded, **inputs_for(variant, 2)), expected, rtol=0, atol=0)
    trainable = {name: weight.requires_grad for name, weight in variant.named_parameters()}
    assert trainable == {name: weight.requires_grad for name, weight in loaded.named_parameters()}
    base = CatSegModel.from_pretrained(tmp_path)
    for name, tensor in base.state_dict().items():
        assert torch.equal(tensor, variant.model.state_dict()[name])


def test_sharded_model_is_equal(tmp_path: Path) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]) > 100
    loaded = CatSegForSemanticSegmentation.from_pretrained(tmp_path)
    images = random_images(1, 3, 64, 64)
    torch.testing.assert_close(logits_of(loaded, pixel_values=images), logits_of(model, pixel_values=images))


def test_missing_weights_are_initialised_and_reported(tmp_path: Path) -> None:
    model = tiny_model()
    state = model.state_dict()
    missing = [name for name in state if "class_block.padding" in name or "upsampling." in name]
    model.save_pretrained(tmp_path, state_dict={name: state[name] for name in state if name not in missing})
    assert not set(missing) & set(load_file(tmp_path / "model.safetensors"))
    loaded, info = CatSegForSemanticSegmentation.from_pretrained(tmp_path, output_loading_info=True)
    assert set(info["missing_keys"]) == set(missing)
    for name in missing:
        weight = loaded.get_parameter(name)
        assert weight.device.type == "cpu" and weight.isfinite().all() and weight.abs().max() < 1


def test_initialisation_is_finite_and_small() -> None:
    model = CatSegForSemanticSegmentation(tiny_config())
    for name, weight in model.named_parameters():
        if ".clip." not in name:
            assert weight.isfinite().all() and weight.abs().max() <= 1, name
    images = random_images(1, 3, 64, 64)
    assert logits_of(model.eval(), pixel_values=images).isfinite().all()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision_weights(dtype: torch.dtype, tolerance: float, tmp_path: Path) -> None:
    model = tiny_model()
    inputs = {"pixel_values": random_images(2, 3, 64, 64), "input_ids": random_input_ids(4, 1, 9)}
    expected = logits_of(model, **inputs)
    model.save_pretrained(tmp_path)
    half = CatSegForSemanticSegmentation.from_pretrained(tmp_path, dtype=dtype)
    assert {weight.dtype for weight in half.parameters()} == {dtype}
    assert half.model.vocabulary.input_ids.dtype == torch.int32
    logits = logits_of(half, **inputs)
    assert logits.dtype == dtype
    assert (logits.float() - expected).abs().max() < tolerance * expected.abs().max()
    half.save_pretrained(tmp_path / "half")
    again = CatSegForSemanticSegmentation.from_pretrained(tmp_path / "half", dtype="auto")
    torch.testing.assert_close(logits_of(again, **inputs), logits, rtol=0, atol=0)


def test_bfloat16_autocast() -> None:
    model = tiny_model()
    inputs = {"pixel_values": random_images(2, 3, 64, 64), "input_ids": random_input_ids(4, 1, 9)}
    expected = logits_of(model, **inputs)
    with torch.autocast("cpu", torch.bfloat16):
        logits = logits_of(model, **inputs)
        loss = model.train()(**inputs, labels=torch.zeros(2, 32, 32, dtype=torch.long)).loss
    assert (logits.float() - expected).abs().max() < 0.1 * expected.abs().max()
    loss.backward()
    assert loss.isfinite()


def test_results_are_deterministic(variant: CatSegForSemanticSegmentation) -> None:
    inputs = inputs_for(variant, 2)
    torch.testing.assert_close(logits_of(variant, **inputs), logits_of(variant, **inputs), rtol=0, atol=0)
    copied = copy.deepcopy(variant)
    torch.testing.assert_close(logits_of(copied, **inputs), logits_of(variant, **inputs), rtol=0, atol=0)


def test_disk_offload(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="device_map needs the train extra")
    model = tiny_model()
    model.save_pretrained(tmp_path)
    device_map = {
        "model.clip": "cpu",
        "model.aggregator": "disk",
        "model.vocabulary": "cpu",
        "decoder": "disk",
    }
    offloaded = CatSegForSemanticSegmentation.from_pretrained(
        tmp_path, device_map=device_map, offload_folder=tmp_path / "offload"
    )
    images = random_images(1, 3, 64, 64)
    torch.testing.assert_close(logits_of(offloaded, pixel_values=images), logits_of(model, pixel_values=images))


# --- Training ---


def test_every_trainable_weight_gets_a_gradient(variant: CatSegForSemanticSegmentation) -> None:
    variant.train()
    input_ids = random_input_ids(4, len(variant.config.prompt_templates), 8)
    labels = torch.randint(0, 4, (2, 40, 40), generator=torch.Generator().manual_seed(0))
    loss = variant(**inputs_for(variant, 2), input_ids=input_ids, labels=labels).loss
    loss.backward()
    without = [name for name, weight in variant.named_parameters() if weight.requires_grad and weight.grad is None]
    assert without == []
    assert all(weight.grad is None for weight in variant.parameters() if not weight.requires_grad)


@pytest.mark.parametrize("policy", ["attention", "vision_attention", "full", "none"])
def test_freezing(policy: str, tmp_path: Path) -> None:
    model = tiny_model(clip_training=policy)
    model.save_pretrained(tmp_path)
    for each in (model, CatSegForSemanticSegmentation.from_pretrained(tmp_path)):
        trained = {name.removeprefix("model.clip.") for name, weight in each.named_parameters() if weight.requires_grad}
        clip = {name for name in trained if name.startswith(("vision_model", "text_model", "visual_", "text_proj"))}
        assert "logit_scale" not in trained and len(trained) > len(clip)
        if policy == "none":
            assert not clip
        elif policy == "attention":
            ends = ("q_proj.weight", "v_proj.weight")
            assert len(clip) == 2 * (3 + 2) - 1 and all(name.endswith(ends) for name in clip)
        elif policy == "vision_attention":
            assert all(name.startswith("vision_model") for name in clip)
            assert "vision_model.embeddings.position_embedding.weight" in clip
        else:
            assert "text_model.embeddings.token_embedding.weight" in clip
        assert not any(
            "layers.2.self_attn.q_proj" in name or "layers.2.self_attn.k_proj" in name
            for name in clip
            if name.startswith("vision_model")
        )


def test_frozen_batch_norm_keeps_its_statistics() -> None:
    for freeze in (True, False):
        model = tiny_model(**backbone_fields("resnet"), freeze_batch_norm=freeze).train()
        before = {name: buffer.clone() for name, buffer in model.model.backbone.named_buffers()}
        model(**inputs_for(model, 2))
        after = dict(model.model.backbone.named_buffers())
        assert all(torch.equal(before[name], after[name]) for name in before) == freeze
        norms = [weight for name, weight in model.model.backbone.named_parameters() if "normalization" in name]
        assert norms and all(weight.requires_grad != freeze for weight in norms)


def test_losses_by_their_definitions() -> None:
    logits = random_images(2, 3, 8, 8)
    labels = torch.randint(0, 3, (2, 20, 24), generator=torch.Generator().manual_seed(0))
    labels[0, :5] = 255
    resized = torch.nn.functional.interpolate(logits, size=(20, 24), mode="bilinear", align_corners=False)
    used = labels != 255
    one_hot = torch.stack([(labels == c).float() for c in range(3)], dim=1)
    elements = torch.nn.functional.binary_cross_entropy_with_logits(resized, one_hot, reduction="none")
    log_probabilities = resized.log_softmax(dim=1).gather(1, labels.masked_fill(~used, 0)[:, None])[:, 0]
    expected = {
        ("bce", False): elements.mean(),
        ("bce", True): elements.movedim(1, -1)[used].mean(),
        ("cross_entropy", False): -log_probabilities[used].mean(),
    }
    for (loss, mask), value in expected.items():
        model = tiny_model(semantic_loss=loss, mask_ignored_pixels=mask)
        torch.testing.assert_close(model.semantic_segmentation_loss(logits, labels), value)
    ignored = torch.full_like(labels, 255)
    model = tiny_model(semantic_loss="cross_entropy")
    assert model.semantic_segmentation_loss(logits, ignored) == 0


def test_training_lowers_the_loss() -> None:
    model = tiny_model().train()
    labels = (torch.arange(64 * 64).view(1, 64, 64) // 2048).expand(2, -1, -1)  # the upper and the lower half
    images = random_images(2, 3, 64, 64) + 3 * labels[:, None]
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-3)
    losses = []
    for _ in range(40):
        loss = model(images, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


# --- Starting from CLIP ---


def test_from_clip_pretrained(tmp_path: Path) -> None:
    clip = CLIPModel(tiny_config().clip_config)
    clip.save_pretrained(tmp_path)
    model = CatSegForSemanticSegmentation.from_clip_pretrained(
        str(tmp_path), guidance_layers=[0, 1], hidden_size=64, num_attention_heads=2
    )
    assert model.config.image_size == 24 * 8 and model.config.hidden_size == 64
    for name, tensor in clip.state_dict().items():
        assert torch.equal(tensor, model.model.clip.state_dict()[name])


# --- What is refused ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pixel_values": torch.zeros(3, 64, 64)}, r"\(B, 3, H, W\)"),
        ({"pixel_values": torch.zeros(1, 3, 60, 64)}, "resize them to 64 x 64"),
        ({"text_embeds": torch.zeros(2, 2, 24)}, r"\(T, 1, 24\)"),
        ({"text_embeds": torch.ones(2, 1, 3, 24)}, "synonyms"),
        ({"text_embeds": torch.zeros(0, 1, 24)}, "at least one"),
        ({"text_embeds": torch.zeros(2, 1, 24), "input_ids": random_input_ids(2, 1, 5)}, "leave one of them out"),
        ({"input_ids": random_input_ids(2, 3, 5)}, r"\(T, 1, L\)"),
        ({"input_ids": torch.ones(2, 1, 5, dtype=torch.long)}, "no end token"),
        ({"input_ids": random_input_ids(2, 1, 5) * torch.tensor([0, 1]).view(2, 1, 1)}, "Class 0"),
        ({"backbone_pixel_values": torch.zeros(1, 3, 64, 64)}, "no appearance backbone"),
        ({"labels": torch.zeros(2, 9, 9, dtype=torch.long)}, r"\(1, height, width\)"),
        ({"labels": torch.zeros(1, 9, 9)}, "must be integers"),
        ({"labels": torch.full((1, 9, 9), 2)}, "from 2 to 2, but there are 2"),
        ({"labels": torch.full((1, 9, 9), -1)}, "from -1 to -1"),
        (
            {"pixel_values": torch.zeros(1, 2, 3, 64, 64), "labels": torch.zeros(1, 9, 9, dtype=torch.long)},
            "do_sliding_window=False",
        ),
    ],
)
def test_wrong_inputs_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_model()(**{"pixel_values": torch.zeros(1, 3, 64, 64), **arguments})


def test_wrong_backbone_inputs_are_refused() -> None:
    model = tiny_model(**backbone_fields("resnet"))
    images = torch.zeros(1, 3, 64, 64)
    with pytest.raises(ValueError, match="needs `backbone_pixel_values`"):
        model(images)
    with pytest.raises(ValueError, match="must be 128 x 128 pixels"):
        model(images, backbone_pixel_values=images)
    with pytest.raises(ValueError, match="same batch and views"):
        model(images, backbone_pixel_values=torch.zeros(2, 3, 128, 128))


@pytest.mark.parametrize(
    ("labels", "shape", "message"),
    [
        ([], (1, 1, 5), "at least one"),
        (["cat", " "], (2, 1, 5), "none of them empty"),
        (["cat", "cat"], (2, 1, 5), "'cat' twice"),
        (["cat", "dog"], (3, 1, 5), "2 `labels`"),
    ],
)
def test_wrong_vocabularies_are_refused(labels: list[str], shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_model().set_vocabulary(labels, random_input_ids(*shape))


@pytest.mark.parametrize("loss", ["bce", "cross_entropy"])
def test_wrong_ids_are_an_error_or_where_nobody_can_ask_a_loss_that_is_no_number(loss: str) -> None:
    model = tiny_model(semantic_loss=loss)
    labels = torch.randint(0, 3, (2, 16, 16), generator=torch.Generator().manual_seed(0))
    labels[0, 0, 0] = 255
    logits = random_images(2, 3, 8, 8).requires_grad_()
    assert model.semantic_segmentation_loss(logits, labels).isfinite()
    for wrong in (3, 254, -1):
        wrong_labels = labels.clone()
        wrong_labels[1, 2, 3] = wrong
        with pytest.raises(ValueError, match="`labels` has ids from"):
            model(random_images(2, 3, 64, 64), text_embeds=random_images(3, 1, 24), labels=wrong_labels)
        result = model.semantic_segmentation_loss(logits, wrong_labels)
        assert result.isnan()
        (gradient,) = torch.autograd.grad(result, logits)
        assert torch.equal(gradient, torch.zeros_like(gradient))  # the weights stay whole
