# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Model cards: the `README.md` that says on the Hub what a model is, made from the model itself."""

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData, metadata_load, metadata_save
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

from catseg_hf.configuration_catseg import CatSegConfig
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation
from catseg_hf.processing_catseg import CatSegProcessor
from catseg_hf.vocabularies import available_vocabularies, load_vocabulary


# Name of a card in a model's folder.
CARD_NAME = "README.md"
TEMPLATE = Path(__file__).parent / "model_card_template.md"
# Longer vocabularies are cut in the card: `config.json` has all names.
SHOWN_CLASSES = 40
# By their names in `ConfusionMatrix.compute`: the type of metric that the Hub knows, and what people read.
METRICS = {
    "miou_present_in_ground_truth": ("mean_iou", "mIoU in percent, over the classes present in the ground truth"),
    "miou_present_in_either": (
        "mean_iou",
        "mIoU in percent, over the classes present in the ground truth or the prediction",
    ),
    "pixel_accuracy": ("accuracy", "pixel accuracy in percent"),
    "mean_accuracy": ("mean_accuracy", "mean accuracy in percent, over the classes present in the ground truth"),
    "frequency_weighted_iou": ("frequency_weighted_iou", "frequency-weighted IoU in percent"),
}


def create_model_card(
    model: CatSegForSemanticSegmentation,
    processor: CatSegProcessor | None = None,
    *,
    name: str = ".",
    license: str | None = None,
    license_name: str | None = None,
    license_link: str | None = None,
    base_model: str | Sequence[str] | None = None,
    datasets: str | Sequence[str] | None = None,
    results: Sequence[EvalResult] = (),
    source: str | None = None,
    training: str | None = None,
    published_results: str | None = None,
    includes_code: bool = False,
) -> ModelCard:
    """Makes the card of a model. What is not given and cannot be read from the model is left out, never guessed.

    Args:
        model ([`CatSegForSemanticSegmentation`]): The model.
        processor ([`CatSegProcessor`], *optional*): Its processor, for a line on the views that it makes.
        name (`str`, *optional*, defaults to `"."`): What the examples load: `owner/name` on the Hub, or a folder.
        license (`str`, *optional*): Identifier of the weights' licence, such as `"apache-2.0"`, or `"other"`.
        license_name (`str`, *optional*): Name of another licence.
        license_link (`str`, *optional*): Where that licence can be read.
        base_model (`str` or `Sequence[str]`, *optional*): Hub name of the CLIP, or of the CAT-Seg, it was trained from.
        datasets (`str` or `Sequence[str]`, *optional*): Hub names of the data sets that it was trained on.
        results (`Sequence[EvalResult]`, *optional*):
            Results of this very model, each made by [`evaluation_result`]. They become the card's `model-index`.
        source (`str`, *optional*): A sentence on where the weights come from, in Markdown.
        training (`str`, *optional*): How the model was trained, in Markdown.
        published_results (`str`, *optional*): Results that others measured, with their source, in Markdown.
        includes_code (`bool`, *optional*, defaults to `False`): Whether the repository carries the code of the model.

    Returns:
        `huggingface_hub.ModelCard`: The card; `.save(path)` writes it, `.push_to_hub(repo_id)` puts it on the Hub, in
        place of any other.

    Raises:
        TypeError: If `results` holds anything but `EvalResult`s.

    Example:

    ```python
    >>> from catseg_hf.cards import create_model_card

    >>> card = create_model_card(model, name="user/catseg-plants", license="mit", training="On 500 photos of plants.")
    >>> card.save("README.md")
    ```
    """
    results = _checked(results)
    data = ModelCardData(
        # The model is a Transformers model: with this name the Hub counts its downloads, shows the code for `pipeline`
        # and the Auto classes and lists it under Transformers. It knows no library `catseg_hf`; that is a tag.
        library_name="transformers",
        pipeline_tag="image-segmentation",
        license=license,
        license_name=license_name,
        license_link=license_link,
        base_model=base_model if base_model is None or isinstance(base_model, str) else list(base_model),
        datasets=datasets if datasets is None or isinstance(datasets, str) else list(datasets),
        metrics=list(dict.fromkeys(result.metric_type for result in results)) or ["mean_iou"],
        tags=["catseg", "catseg_hf", "open-vocabulary-segmentation"],
    )
    if results:
        data.model_name = _model_name(name)
        data.eval_results = results
    return ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        name=name,
        source=source,
        training=training,
        published_results=published_results,
        includes_code=includes_code,
        views=_views(processor),
        **_vocabulary(model.config),
        **_architecture(model.config),
    )


def write_model_card(
    folder: str | os.PathLike,
    model: CatSegForSemanticSegmentation,
    processor: CatSegProcessor | None = None,
    *,
    overwrite: bool = False,
    **facts: Any,
) -> bool:
    """Writes the card of a model into its folder, unless there is one.

    Args:
        folder (`str` or `os.PathLike`): The folder, written by `save_pretrained`.
        model ([`CatSegForSemanticSegmentation`]): The model.
        processor ([`CatSegProcessor`], *optional*): Its processor.
        overwrite (`bool`, *optional*, defaults to `False`): Whether to replace a card that is there.
        facts: The other arguments of [`create_model_card`].

    Returns:
        `bool`: Whether a card was written.

    Raises:
        TypeError: If [`create_model_card`] has no such argument.

    Example:

    ```python
    >>> from catseg_hf.cards import write_model_card

    >>> model.save_pretrained("my-catseg")
    >>> write_model_card("my-catseg", model, processor, license="mit")
    True
    >>> write_model_card("my-catseg", model)  # it stays
    False
    ```
    """
    path = Path(folder, CARD_NAME)
    if path.exists() and not overwrite:
        return False
    facts.setdefault("includes_code", Path(folder, "modeling_catseg.py").is_file())
    create_model_card(model, processor, **facts).save(path)
    return True


def evaluation_result(
    value: float,
    *,
    dataset_name: str,
    dataset_type: str,
    dataset_split: str,
    dataset_config: str | None = None,
    dataset_revision: str | None = None,
    metric: str = "miou_present_in_ground_truth",
) -> EvalResult:
    """A result that was really measured, as the Hub's `model-index` has it.

    Args:
        value (`float`): The result, a fraction from 0 to 1, as [`ConfusionMatrix.compute`] gives it. The card has it in
            percent, with two decimals.
        dataset_name (`str`): Name of the data set for people, such as `"ADE20K-150"`.
        dataset_type (`str`): Its name on the Hub, or another identifier, such as `"ade20k_150"`.
        dataset_split (`str`): The part of it, such as `"validation"`.
        dataset_config (`str`, *optional*): Its configuration on the Hub.
        dataset_revision (`str`, *optional*): Its version: a commit on the Hub, or the release of its files.
        metric (`str`, *optional*, defaults to `"miou_present_in_ground_truth"`):
            What was measured, by its name in [`ConfusionMatrix.compute`]. For mIoU this is the convention.

    Returns:
        `huggingface_hub.EvalResult`: For [`create_model_card`] and [`update_model_card`].

    Raises:
        ValueError: If the metric is unknown, or the value is no fraction.

    Example:

    ```python
    >>> from catseg_hf.cards import evaluation_result

    >>> result = evaluation_result(0.318, dataset_name="ADE20K-150", dataset_type="ade20k_150", dataset_split="val")
    >>> result.metric_value
    31.8
    ```
    """
    if metric not in METRICS:
        raise ValueError(f"`metric={metric!r}` is unknown: use one of {', '.join(METRICS)}.")
    if not 0 <= value <= 1:
        raise ValueError(f"`value={value!r}` must be a fraction from 0 to 1; the card gives it in percent.")
    metric_type, metric_name = METRICS[metric]
    return EvalResult(
        task_type="image-segmentation",
        task_name="Open-vocabulary semantic segmentation",
        dataset_type=dataset_type,
        dataset_name=dataset_name,
        dataset_config=dataset_config,
        dataset_split=dataset_split,
        dataset_revision=dataset_revision,
        metric_type=metric_type,
        metric_name=metric_name,
        metric_value=round(100 * value, 2),
    )


def update_model_card(folder_or_readme: str | os.PathLike, results: EvalResult | Sequence[EvalResult]) -> Path:
    """Adds results to the `model-index` of a card, whose text and other metadata stay as they are.

    A result of the same data set, split, revision and metric takes the place of the older one.

    Args:
        folder_or_readme (`str` or `os.PathLike`): The card, or the folder that it lies in.
        results (`EvalResult` or `Sequence[EvalResult]`): New results, each made by [`evaluation_result`].

    Returns:
        `Path`: The card.

    Raises:
        FileNotFoundError: If there is no card.
        TypeError: If `results` holds anything but `EvalResult`s.
        ValueError: If the header of the card cannot be read.

    Example:

    ```python
    >>> from catseg_hf.cards import evaluation_result, update_model_card, write_model_card

    >>> model.save_pretrained("measured")
    >>> written = write_model_card("measured", model)
    >>> result = evaluation_result(0.318, dataset_name="ADE20K-150", dataset_type="ade20k_150", dataset_split="val")
    >>> update_model_card("measured", result).name
    'README.md'
    ```
    """
    path = Path(folder_or_readme)
    path = path / CARD_NAME if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"There is no model card {path}: make one with `write_model_card` first.")
    results = _checked(results)
    try:
        metadata = metadata_load(path) or {}
        index = metadata.get("model-index")
        name, present = model_index_to_eval_results(index) if index else (_model_name(str(path.resolve().parent)), [])
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"The header of {path} is no valid metadata, so nothing was written: {error}") from error
    kept = [old for old in present if not any(old.is_equal_except_value(new) for new in results)]
    metadata["model-index"] = eval_results_to_model_index(name, kept + results)
    metrics = metadata.get("metrics") or []
    metrics = [metrics] if isinstance(metrics, str) else metrics
    metadata["metrics"] = list(dict.fromkeys([*metrics, *(result.metric_type for result in results)]))
    metadata_save(path, metadata)
    return path


def _checked(results: EvalResult | Sequence[EvalResult]) -> list[EvalResult]:
    results = [results] if isinstance(results, EvalResult) else list(results)
    for result in results:
        if not isinstance(result, EvalResult):
            raise TypeError(f"`results` must be made by `evaluation_result`, got {result!r}.")
    return results


def _model_name(name: str) -> str:
    return Path(name).name or "CAT-Seg"


def _architecture(config: CatSegConfig) -> dict[str, str]:
    vision = config.clip_config.vision_config
    backbone = config.backbone_config
    templates = config.prompt_templates
    return {
        "clip": f"{vision.num_hidden_layers} vision layers of width {vision.hidden_size}, patches of "
        f"{vision.patch_size} pixels, views of {config.image_size} pixels",
        "guidance": "layers of CLIP" if backbone is None else {"resnet": "ResNet", "swin": "Swin"}[backbone.model_type],
        "templates": f"`{templates[0]}`" if len(templates) == 1 else f"{len(templates)}, such as `{templates[0]}`",
    }


def _views(processor: CatSegProcessor | None) -> str | None:
    if processor is None:
        return None
    image_processor = processor.image_processor
    if not image_processor.do_sliding_window:
        return "the whole image, squashed"
    whole = ", and the whole image" if image_processor.global_view else ""
    return f"sliding windows of {image_processor.window} pixels, {image_processor.stride} apart{whole}"


def _vocabulary(config: CatSegConfig) -> dict[str, Any]:
    """The model's own vocabulary: what it is called, and its names, the first ones where there are many."""
    if config.vocabulary_digest is None:
        return {"class_names": ""}
    names = list(config.id2label.values())
    title = f"{len(names)} classes"
    for known in available_vocabularies():
        if names == [entry if isinstance(entry, str) else ", ".join(entry) for entry in load_vocabulary(known)]:
            title = f"`{known}`, {title}"
    shown = textwrap.fill(", ".join(names[:SHOWN_CLASSES]), width=100, break_long_words=False, break_on_hyphens=False)
    return {"vocabulary": title, "class_names": shown, "num_more": max(0, len(names) - SHOWN_CLASSES)}


__all__ = ["CARD_NAME", "create_model_card", "evaluation_result", "update_model_card", "write_model_card"]
