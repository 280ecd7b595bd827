# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Compares this package with golden cases: `python tests/golden.py ROOT [--codebase cvpr|v1|mmseg]`.

Each case holds the weights of a tiny model under the names of an original code base, inputs, and what the original
computed. Weights go through the converter, images through the image processor and post-processing. One line is printed
for each case. The exit code is 0 only if there are cases and all of them pass.
"""

import argparse
import json
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from catseg_hf.conversion import ConversionOptions, ConversionPlan, convert_checkpoint, invert_moves
from catseg_hf.image_processing_catseg import CatSegImageProcessor
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation


CODE_BASES = ("cvpr", "v1", "mmseg")
CONTEXT_LENGTH = 77
LOGITS_TOLERANCE = 1e-4
INTERMEDIATE_TOLERANCE = 1e-4
LOSS_TOLERANCE = 1e-5
# Norms below this part of the largest are rounding noise.
GRADIENT_NOISE = 1e-4
# Rounding lets a few ReLUs near zero flip, which moves single entries of a gradient more than its norm.
ENTRIES_OVER_NORM = 5


@dataclass
class CaseResult:
    """Errors of one case.

    Args:
        name (`str`): Path of the case.
        errors (`dict[str, tuple[float, float]]`): Worst error and tolerance, by name of the tensor.
        not_formed (`list[str]`): Intermediate tensors that this package does not form.
        problems (`list[str]`): Whatever else is wrong.
    """

    name: str
    errors: dict[str, tuple[float, float]] = field(default_factory=dict)
    not_formed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every error is within its tolerance and nothing else is wrong."""
        return bool(self.errors) and not self.problems and all(error <= limit for error, limit in self.errors.values())

    def __str__(self) -> str:
        parts = [
            f"{name} {error:.1e}{'' if error <= limit else ' ABOVE'} (<= {limit:.1e})"
            for name, (error, limit) in self.errors.items()
        ]
        if self.not_formed:
            parts.append(f"not formed: {' '.join(self.not_formed)}")
        return f"{'PASS' if self.passed else 'FAIL'} {self.name}: {'; '.join(self.problems + parts)}"


def find_cases(root: Path) -> list[Path]:
    """Folders of the cases below `root`, as its `index.json` lists them."""
    index = root / "index.json"
    if not index.is_file():
        return sorted(path.parent for path in root.rglob("case.json"))
    return [root / entry["path"] for entry in json.loads(index.read_text(encoding="utf-8"))]


def code_base_of(folder: Path) -> str:
    """Code base of a case, by the folder it is in."""
    return folder.parent.name


def conversion_options(case: dict[str, Any], code_base: str, num_templates: int) -> ConversionOptions:
    """What the weights of a case do not tell, from its configuration."""
    config = case["config"]
    clip = config["clip"]
    if "vision_cfg" in clip:
        vision_heads = clip["vision_cfg"]["width"] // clip["vision_cfg"]["head_width"]
        text_heads = clip["text_cfg"]["heads"]
        hidden_act = "quick_gelu" if clip.get("quick_gelu") else "gelu"
    else:
        vision_heads, text_heads = max(1, clip["vision_width"] // 64), clip["transformer_heads"]
        hidden_act = "quick_gelu"
    templates = config.get("templates")
    if templates is None and num_templates != 80:
        templates = [f"template {index} of {{}}" for index in range(num_templates)]
    pooling = tuple(config["pooling"])
    return ConversionOptions(
        vision_heads=vision_heads,
        text_heads=text_heads,
        hidden_act=hidden_act,
        image_size=config["clip_resolution"][0],
        num_attention_heads=config["heads"],
        guidance_layers=tuple(config["layer_indexes"]) if "layer_indexes" in config else None,
        class_padding_length=config.get("pad_len"),
        class_attention="softmax" if config["attention_type"] == "full" else "linear",
        window_size=config["window"],
        train_pooling_size=pooling,
        inference_pooling_size=pooling,
        prompt_templates=None if templates is None else tuple(templates),
        drop_path_rate=0.0,
        decoder_dropout=config.get("dropout_ratio"),
        backbone_training=config["backbone_multiplier"] > 0 if "backbone_multiplier" in config else None,
    )


@cache
def scratch_folder() -> tempfile.TemporaryDirectory:
    """Where converted models go; it disappears when the program ends."""
    return tempfile.TemporaryDirectory(prefix="catseg-golden-")


@cache
def converted(weights: Path, options: ConversionOptions) -> tuple[Path, ConversionPlan]:
    """Converts weights into a temporary folder, once for each set of options."""
    folder = Path(tempfile.mkdtemp(dir=scratch_folder().name)) / "model"
    report = convert_checkpoint(weights, folder, options=options, tokenizer=False)
    return folder, report.plan


def class_prompts(inputs: dict[str, torch.Tensor], num_classes: int, num_templates: int) -> torch.Tensor:
    """Token ids (T, P, L) or, with synonyms, (T, P, S, L)."""
    if "token_ids" in inputs:
        return inputs["token_ids"].long()
    classes = [inputs[f"token_ids_class{index}"].long() for index in range(num_classes)]
    classes = [rows.unflatten(0, (num_templates, -1)) for rows in classes]  # P, S, L
    synonyms = max(rows.shape[1] for rows in classes)
    return torch.stack(
        [F.pad(rows, (0, CONTEXT_LENGTH - rows.shape[2], 0, synonyms - rows.shape[1])) for rows in classes]
    )


def record_intermediates(model: CatSegForSemanticSegmentation, code_base: str) -> dict[str, list[torch.Tensor]]:
    """Hooks that note intermediate tensors under their golden names, in the golden layout, one entry per call."""
    recorded: dict[str, list[torch.Tensor]] = {}

    def note(name: str, tensor: torch.Tensor) -> None:
        recorded.setdefault(name, []).append(tensor.detach().to("cpu", copy=True))

    def watch(module: torch.nn.Module, name: str, layout: Any) -> None:
        module.register_forward_hook(lambda module, args, output: note(name, layout(output)))

    def maps_by_class(maps: torch.Tensor) -> torch.Tensor:
        return maps.permute(0, 4, 1, 2, 3)  # B, T, h, w, C -> B, C, T, h, w

    def maps_in_batch(maps: torch.Tensor) -> torch.Tensor:
        return maps.flatten(0, 1).permute(0, 3, 1, 2)  # B, T, h, w, C -> B * T, C, h, w

    def with_class_token(patches: torch.Tensor) -> torch.Tensor:
        return F.pad(patches, (0, 0, 1, 0), value=torch.nan)  # Its dense output is used by nobody.

    clip, aggregator, decoder = model.model.clip, model.model.aggregator, model.decoder
    layers = clip.vision_model.encoder.layers
    names = (
        {f"clip_layer{position}": index for position, index in enumerate(model.config.guidance_layers)}
        if code_base == "cvpr"
        else {f"clip_block{index}": index for index in range(len(layers) - 1)}
    )
    for name, index in names.items():
        watch(layers[index], name, lambda states: states.transpose(0, 1))
    watch(clip.visual_projection, "clip_features", with_class_token)
    if decoder.guidance_upsamplings is not None:
        watch(decoder.guidance_upsamplings[0], "guidance_res4", lambda maps: maps)
        watch(decoder.guidance_upsamplings[1], "guidance_res5", lambda maps: maps)
    if model.model.backbone is not None:
        for index in range(3):
            name = f"backbone_out{index}" if code_base == "mmseg" else f"backbone_res{index + 2}"
            watch(model.model.backbone, name, lambda output, index=index: output.feature_maps[index])
    watch(aggregator.cost_embedding, "conv1_out", lambda maps: maps)
    watch(aggregator.guidance_projection, "projected_guidance", F.relu)
    for index, layer in enumerate(aggregator.layers):
        watch(layer.spatial_blocks[1], f"layer{index}_swin_out", lambda output: maps_by_class(output[0]))
        watch(layer, f"layer{index}_out", lambda output: maps_by_class(output[0]))
    for index in range(2):
        watch(decoder.guidance_projections[index], f"projected_decoder_guidance{index}", F.relu)
        watch(decoder.stages[index], f"decoder{index + 1}_out", maps_in_batch)

    def note_text_guidance(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        hidden_states, _, text_guidance = args[:3]
        note("projected_text_guidance", text_guidance.expand(len(hidden_states), -1, -1))

    def note_aggregator(module: torch.nn.Module, args: tuple[Any, ...], output: Any) -> None:
        image_embeds, text_embeds = args[:2]
        note("agg_in_img_feats", image_embeds.permute(0, 3, 1, 2))
        note("text_feats", text_embeds.expand(len(image_embeds), *text_embeds.shape))
        note("corr_bt_p_h_w", output.cost_volume.flatten(0, 1))
        if output.kept_classes is not None:
            note("topk_classes", output.kept_classes)

    aggregator.layers[0].register_forward_pre_hook(note_text_guidance)
    aggregator.register_forward_hook(note_aggregator)
    return recorded


def reorder_kept_classes(recorded: dict[str, torch.Tensor], reference: torch.Tensor) -> None:
    """Puts the kept classes of each image into the order of the reference."""
    kept = recorded["topk_classes"]
    # Position, among our kept classes, of each class that the reference kept.
    order = (reference[:, :, None] == kept[:, None, :]).int().argmax(dim=-1)
    images = torch.arange(len(order))[:, None]
    for name, tensor in recorded.items():
        if name in ("topk_classes", "projected_text_guidance"):
            recorded[name] = tensor[images, order]
        elif name in ("corr_bt_p_h_w", "conv1_out", "decoder1_out", "decoder2_out"):
            recorded[name] = tensor.unflatten(0, order.shape)[images, order].flatten(0, 1)
        elif name.startswith("layer"):
            recorded[name] = tensor.transpose(1, 2)[images, order].transpose(1, 2)


def worst_error(mine: torch.Tensor, reference: torch.Tensor, description: dict[str, Any]) -> float:
    """Largest difference, of the entries that the reference holds and this package forms."""
    if list(mine.shape) != list(description["shape"]):
        raise ValueError(f"shape {list(mine.shape)} instead of {description['shape']}")
    part = mine[tuple(slice(None, None, step) for step in description["stride"])].double()
    difference = (part - reference.double()).abs()
    formed = ~part.isnan() if part.isnan().any() and not part.isnan().all() else torch.ones_like(part, dtype=torch.bool)
    return difference[formed].max().item()


def compare_tensor(
    result: CaseResult,
    name: str,
    mine: torch.Tensor | None,
    case: dict[str, Any],
    references: dict[str, torch.Tensor],
    tolerance: float | None = None,
) -> None:
    """Adds the error of one golden tensor to the result."""
    description = case["outputs"][name]
    if mine is None:
        result.not_formed.append(name)
        return
    limit = tolerance or INTERMEDIATE_TOLERANCE * max(1.0, description["abs_max"])
    try:
        error = worst_error(mine.detach(), references[name], description)
    except ValueError as problem:
        result.problems.append(f"{name}: {problem}")
        return
    result.errors[name] = (error if error == error else float("inf"), limit)
    full = mine.detach().double()
    if not full.isnan().any() and "std" in description and full.numel() > 1:
        # The statistics cover the entries that the file leaves out.
        drift = abs(full.std().item() - description["std"]) + abs(full.mean().item() - description["mean"])
        if drift > 10 * limit:
            result.problems.append(f"{name}: mean or standard deviation of the whole tensor differs by {drift:.1e}")


def gradient_tolerance(code_base: str, model: CatSegForSemanticSegmentation) -> float:
    """Relative tolerance of gradient norms, by how much rounding moved them in the originals."""
    if code_base != "mmseg":
        return 2e-3
    return 5e-2 if model.config.backbone_config.model_type == "resnet" else 5e-3


def compare_gradients(
    result: CaseResult,
    case: dict[str, Any],
    references: dict[str, torch.Tensor],
    model: CatSegForSemanticSegmentation,
    plan: ConversionPlan,
) -> None:
    """Gradients and what is trained, under the original names."""
    state = model.state_dict(keep_vars=True)
    targets = {move.target for move in plan.moves}
    gradients = invert_moves(
        plan.moves,
        {key: torch.zeros_like(state[key]) if state[key].grad is None else state[key].grad for key in targets},
    )
    trained = invert_moves(
        plan.moves, {key: torch.full_like(state[key], state[key].requires_grad, dtype=torch.bool) for key in targets}
    )
    norms = case["grad_l2_norms"]
    largest = max(norms.values())
    limit = gradient_tolerance(plan.code_base, model)
    worst = 0.0
    for name, norm in norms.items():
        mine = gradients[name].double().norm().item()
        if norm > GRADIENT_NOISE * largest:
            error = abs(mine - norm) / norm
            worst = error if not error <= worst else worst  # also where it is not a number
        elif not mine <= 2 * GRADIENT_NOISE * largest:
            result.problems.append(f"the gradient of {name} has the norm {mine:.1e} instead of {norm:.1e}")
    result.errors["gradient norms"] = (worst if worst == worst else float("inf"), limit)
    for name in references:
        if name.startswith("grad."):
            key = name.removeprefix("grad.")
            part = gradients[key][tuple(slice(None, None, step) for step in case["outputs"][name]["stride"])]
            difference = (part.double() - references[name].double()).norm() / references[name].double().norm()
            result.errors[name] = (difference.item(), ENTRIES_OVER_NORM * limit)
    ours = {name for name, flags in trained.items() if flags.any()}
    theirs = {name for name in case["trainable"] if norms.get(name, 0.0) > 0.0}
    for title, names in (("frozen", theirs - ours), ("trained", ours - set(case["trainable"]))):
        if names:
            result.problems.append(f"{len(names)} parameters are {title} unlike in the original, such as {min(names)}")


def processor_inputs(
    folder: Path, case: dict[str, Any], inputs: dict[str, torch.Tensor]
) -> tuple[CatSegImageProcessor, dict[str, Any]]:
    """The image processor and what it makes of the images of a case."""
    processor = CatSegImageProcessor.from_pretrained(folder)
    repeat = case.get("image_repeat", 1)

    def images_named(name: str) -> Iterator[torch.Tensor]:
        index = 0
        while f"{name}{index}" in inputs:
            yield inputs[f"{name}{index}"].repeat_interleave(repeat, -2).repeat_interleave(repeat, -1)
            index += 1

    images, targets = list(images_named("image")), list(images_named("target"))
    # The stored image is what the original's own loader resized already.
    if case["mode"] in ("eval_sliding", "slide"):
        options = {"do_sliding_window": True, "do_resize": False}
        images = images[:1]
    else:
        options = {"do_sliding_window": False, "do_resize": False, "pad_to_multiple": 32}
    prepared = processor(images, return_tensors="pt", **options)
    if targets:
        prepared["labels"] = torch.stack(targets).long()
    return processor, dict(prepared)


def run_case(folder: Path, root: Path, device: str = "cpu") -> CaseResult:
    """Runs one case and compares everything it holds.

    Args:
        folder (`Path`): Folder of the case.
        root (`Path`): Folder of all cases.
        device (`str`, *optional*, defaults to `"cpu"`): Where the model computes.

    Returns:
        `CaseResult`.
    """
    result = CaseResult(str(folder.relative_to(root)))
    try:
        _run_case(folder, result, device)
    except Exception as error:  # A case that cannot be run is a failure of that case.
        place = traceback.extract_tb(error.__traceback__)[-1]
        result.problems.append(f"cannot be run: {type(error).__name__}: {error} ({place.filename}:{place.lineno})")
    return result


def _run_case(folder: Path, result: CaseResult, device: str) -> None:
    case = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    inputs = load_file(folder / "inputs.safetensors")
    references = load_file(folder / "outputs.safetensors")
    weights = (folder / case["weights"]).resolve()
    num_templates = case["config"].get("prompt_channel") or len(case["config"]["templates"])
    model_folder, plan = converted(weights, conversion_options(case, code_base_of(folder), num_templates))
    code_base = plan.code_base
    model = CatSegForSemanticSegmentation.from_pretrained(model_folder).to(device)
    model.config.class_chunk_size = 10**9
    is_training = case["mode"] == "train"
    model.train(is_training)
    processor, prepared = processor_inputs(model_folder, case, inputs)
    text: dict[str, torch.Tensor] = {"input_ids": class_prompts(inputs, len(case["classes"]), num_templates)}
    if code_base == "cvpr" and "text_feats_t_p_c" in inputs:
        # The original cannot encode several templates itself; the case gives the features instead.
        text = {"text_embeds": inputs["text_feats_t_p_c"]}
    recorded = record_intermediates(model, code_base)
    moved = {
        name: values if name in ("view_boxes", "resized_sizes") else values.to(device)
        for name, values in {**prepared, **text}.items()
    }
    with torch.set_grad_enabled(is_training):
        outputs = model(**moved)
    if is_training:
        outputs.loss.backward()
    model.cpu()  # with its gradients
    outputs.logits = outputs.logits.cpu()

    views = outputs.logits.flatten(0, -4)
    tensors = {
        # Where there are several views, the golden batch is the views; mmseg keeps intermediates of the first only.
        name: torch.cat(parts, dim=1 if name.startswith(("clip_layer", "clip_block")) else 0)
        for name, parts in recorded.items()
    }
    tensors["clip_input"] = prepared["pixel_values"].flatten(0, -4)
    if "backbone_pixel_values" in prepared:
        tensors["backbone_input"] = prepared["backbone_pixel_values"].flatten(0, -4)
    if case["mode"] == "slide":
        tensors = {name: _first_view(name, tensor, len(views)) for name, tensor in tensors.items()}
    if "topk_classes" in references:
        theirs = references["topk_classes"]
        if [set(row) for row in tensors["topk_classes"].tolist()] != [set(row) for row in theirs.tolist()]:
            result.problems.append("other classes were kept")
            return
        reorder_kept_classes(tensors, theirs)
    tensors.update({f"logits#{index}" if index else "logits": view[None] for index, view in enumerate(views)})
    if case["mode"] != "slide":
        tensors["logits"] = views
    _add_final(tensors, case, inputs, outputs, processor)
    if is_training:
        _compare_training(result, case, references, model, plan, outputs.loss.item())
    for name, description in case["outputs"].items():
        if name == "loss" or name.startswith("grad."):
            continue
        if name.startswith("running_"):
            norm = model.model.backbone.embedder.embedder.normalization
            tensors[name] = norm.running_mean if name.startswith("running_mean") else norm.running_var
        if name == "final_argmax":
            _compare_argmax(result, tensors["final"], references, description)
        elif name == "topk_classes":
            result.errors[name] = (float((tensors[name] != references[name]).sum()), 0.0)
        else:
            is_result = name == "final" or name.startswith("logits")
            if is_result and name not in tensors:
                result.problems.append(f"{name} was not computed")
            else:
                tolerance = LOGITS_TOLERANCE if is_result else None
                compare_tensor(result, name, tensors.get(name), case, references, tolerance)
    if "text_feats_t_p_c" in inputs and "input_ids" in text:
        error = (recorded["text_feats"][0][0] - inputs["text_feats_t_p_c"]).abs().max().item()
        result.errors["text_feats_t_p_c"] = (error, INTERMEDIATE_TOLERANCE)


def _first_view(name: str, tensor: torch.Tensor, num_views: int) -> torch.Tensor:
    dimension = 1 if name.startswith(("clip_layer", "clip_block")) else 0
    return tensor.narrow(dimension, 0, tensor.shape[dimension] // num_views)


def _add_final(
    tensors: dict[str, torch.Tensor],
    case: dict[str, Any],
    inputs: dict[str, torch.Tensor],
    outputs: Any,
    processor: CatSegImageProcessor,
) -> None:
    if "final" not in case["outputs"]:
        return
    if case["mode"] == "tensor":
        tensors["final"] = outputs.logits
        return
    size = case.get("output_height_width") or list(inputs["image0"].shape[-2:])
    sizes = [tuple(size)] * len(outputs.logits)
    tensors["final"] = processor.post_process_class_scores(outputs, target_sizes=sizes)[0]


def _compare_argmax(
    result: CaseResult, final: torch.Tensor, references: dict[str, torch.Tensor], description: dict[str, Any]
) -> None:
    steps = tuple(slice(None, None, step) for step in description["stride"])
    theirs = references["final_argmax"].long()
    ours = final.argmax(dim=0)[steps]
    # Where two classes are within the tolerance of each other, either may win.
    best = final.topk(2, dim=0).values
    is_clear = (best[0] - best[1])[steps] > 2 * LOGITS_TOLERANCE
    result.errors["final_argmax"] = (float(((ours != theirs) & is_clear).sum()), 0.0)


def _compare_training(
    result: CaseResult,
    case: dict[str, Any],
    references: dict[str, torch.Tensor],
    model: CatSegForSemanticSegmentation,
    plan: ConversionPlan,
    loss: float,
) -> None:
    result.errors["loss"] = (abs(loss - case["loss"]), LOSS_TOLERANCE)
    compare_gradients(result, case, references, model, plan)


def main(arguments: list[str] | None = None) -> int:
    """Runs all cases of a folder and prints a line for each; see the module's documentation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder with index.json and case folders")
    parser.add_argument("--codebase", choices=CODE_BASES, help="only the cases of this code base")
    parser.add_argument("--device", default="cpu", help="where the model computes")
    options = parser.parse_args(arguments)
    cases = find_cases(options.root)
    cases = [case for case in cases if options.codebase in (None, code_base_of(case))]
    if not cases:
        print(f"No cases in {options.root}.", file=sys.stderr)
        return 1
    failures = 0
    for case in cases:
        result = run_case(case, options.root, options.device)
        failures += not result.passed
        print(result, flush=True)
    print(f"{len(cases) - failures} of {len(cases)} cases pass.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
