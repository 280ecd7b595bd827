# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What decides on the counts of an evaluation: others that agree in it have the same ones, and no other is mixed in."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from catseg_hf.conversion.released import weights_digest
from catseg_hf.datasets import SegmentationDataset
from catseg_hf.evaluation.segmenter import ProtocolSegmenter
from catseg_hf.others_catseg import NUM_OTHERS


# Fields of a configuration that say nothing about what a model computes.
DESCRIPTIVE_FIELDS = ("id2label", "label2id", "_name_or_path", "transformers_version", "architectures", "dtype")


def describe(
    segmenter: ProtocolSegmenter,
    dataset: SegmentationDataset,
    batch_size: int,
    limit: int | None,
    skip_unreadable: bool,
) -> dict[str, Any]:
    """What decides on the counts: evaluations that agree in it have the same ones.

    Args:
        segmenter ([`ProtocolSegmenter`]): Model, vocabulary and protocol.
        dataset, batch_size, limit, skip_unreadable: As for [`evaluate`].

    Returns:
        `dict[str, Any]`: Ready for JSON.
    """
    model = segmenter.model
    config = json.loads(
        model.config.to_json_string(use_diff=False),
        object_hook=lambda fields: {name: value for name, value in fields.items() if name not in DESCRIPTIVE_FIELDS},
    )
    # Of a file the name, of a row its number.
    images = [record[0] if isinstance(record, tuple) else record for record in dataset.records]
    identity = {
        "weights_sha256": weights_digest(model),
        "config_sha256": _digest(config),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
        "dataset": f"{dataset.name}, {dataset.split}, {len(dataset)} images",
        "images_sha256": _digest(images),
        "label_values_sha256": _digest(repr(getattr(dataset.read, "ids", None))),
        "classes_sha256": _digest([segmenter.input_ids.tolist(), dataset.class_names]),
        "protocol": json.loads(json.dumps(asdict(segmenter.protocol))),
        "image_processor": json.loads(segmenter.image_processor.to_json_string()),
        "batch_size": batch_size,
        "limit": limit,
        "skip_unreadable": skip_unreadable,
    }
    if segmenter.classes.others:
        identity["others_sha256"] = _digest([segmenter.classes.others, NUM_OTHERS])
    return identity


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def check_identity(wanted: dict[str, Any], found: dict[str, Any], folder: Path) -> None:
    """Refuses to mix two evaluations.

    Args:
        wanted, found (`dict[str, Any]`): All that decides on the result, of this evaluation and of the one in a folder.
        folder (`Path`): That folder.

    Raises:
        ValueError: If they differ; says in what.
    """
    differences = []
    for name in {**wanted, **found}:
        there, now = found.get(name), wanted.get(name)
        if there != now:
            # Long values are only named.
            values = f" ({there!r} there, {now!r} now)" if len(f"{there!r}{now!r}") < 100 else ""
            differences.append(f"{name}{values}")
    if differences:
        raise ValueError(
            f"{folder} holds another evaluation, which differs in: {', '.join(differences)}. Results are never mixed: "
            "give another `output`, or delete that folder to begin anew."
        )


__all__ = ["check_identity", "describe"]
