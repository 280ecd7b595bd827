# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What makes a saved model or processor carry the code of this package, for machines that have only Transformers."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch


# What `config.json` says of the files that lie beside it.
AUTO_MAP = {
    "AutoConfig": "configuration_catseg.CatSegConfig",
    "AutoModel": "modeling_catseg.CatSegModel",
    "AutoModelForSemanticSegmentation": "modeling_catseg.CatSegForSemanticSegmentation",
}


@contextmanager
def include_code_of(*objects: Any, pipeline_class: type | None = None) -> Iterator[None]:
    """Makes models and processors save and upload the code of this package with themselves, within a `with` block.

    It is what `register_for_auto_class` does, but for single objects and not for good. Transformers then copies the
    file of the object's class, and all files that it imports relatively, and those that these import in turn.

    Args:
        objects (`CatSegPreTrainedModel` or `CatSegProcessor`): What will be saved.
        pipeline_class (`type`, *optional*): For models, the pipeline that `config.json` names for segmentation.
    """
    changes: list[tuple[Any, dict[str, Any]]] = []
    for each in objects:
        if isinstance(each, torch.nn.Module):
            auto_class = "AutoModelForSemanticSegmentation" if hasattr(each, "decoder") else "AutoModel"
            changes.append((each, {"_auto_class": auto_class, "is_remote_code": lambda: True}))
            pipelines = {
                "image-segmentation": {
                    "impl": f"pipeline_catseg.{pipeline_class.__name__}",
                    "pt": ["AutoModelForSemanticSegmentation"],
                }
            }
            changes.append((each.config, {"auto_map": dict(AUTO_MAP), "custom_pipelines": pipelines}))
        else:
            class_name = f"image_processing_catseg.{type(each.image_processor).__name__}"
            changes.append((each, {"_auto_class": "AutoProcessor", "auto_map": {}}))
            changes.append((each.image_processor, {"auto_map": {"AutoImageProcessor": class_name}}))
    with ExitStack() as undo:
        for each, attributes in changes:
            for name, value in attributes.items():
                if name in vars(each):
                    undo.callback(setattr, each, name, vars(each)[name])
                else:
                    undo.callback(delattr, each, name)
                setattr(each, name, value)
        yield
