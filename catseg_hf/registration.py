# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Makes Transformers know the model as soon as Transformers is imported, in whatever order, and imports it for nobody.

Where Transformers is imported already, the model is registered at once. Otherwise a finder at the head of
`sys.meta_path` watches for it. Registering needs modules of this package, which may be just what is importing
Transformers, so it waits until none of them is half done.
"""

import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from importlib.machinery import ModuleSpec
from itertools import dropwhile
from types import ModuleType


def register_model() -> None:
    """Registers the model with Transformers' Auto classes and pipelines; again makes no difference."""
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForSemanticSegmentation, AutoProcessor
    from transformers.pipelines import PIPELINE_REGISTRY

    from .configuration_catseg import CatSegConfig
    from .image_processing_catseg import CatSegImageProcessor, CatSegImageProcessorPil
    from .modeling_catseg import CatSegForSemanticSegmentation, CatSegModel
    from .pipeline_catseg import CatSegImageSegmentationPipeline
    from .processing_catseg import CatSegProcessor

    AutoConfig.register(CatSegConfig.model_type, CatSegConfig, exist_ok=True)
    AutoModel.register(CatSegConfig, CatSegModel, exist_ok=True)
    AutoModelForSemanticSegmentation.register(CatSegConfig, CatSegForSemanticSegmentation, exist_ok=True)
    AutoImageProcessor.register(
        CatSegConfig,
        image_processor_classes={"pil": CatSegImageProcessorPil, "torchvision": CatSegImageProcessor},
        exist_ok=True,
    )
    AutoProcessor.register(CatSegConfig, CatSegProcessor, exist_ok=True)
    # Not by `register_pipeline`, which warns, and with which every saved pipeline would ask for trust.
    PIPELINE_REGISTRY.supported_tasks["image-segmentation"]["impl"] = CatSegImageSegmentationPipeline


class AfterImport:
    """A finder that calls a function once: when a library is imported, and no module of a package is half done.

    Args:
        dependency (`str`): The name of the library.
        package (`str`): The name of the package, whose modules the function may import.
        call (`Callable[[], None]`): The function.
    """

    def __init__(self, dependency: str, package: str, call: Callable[[], None]) -> None:
        self.dependency, self.package, self.call = dependency, package, call
        self.lock = threading.Lock()
        self.num_running = 0

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the finders behind this one find, to be watched while it is run; nothing for other modules.

        Args:
            name (`str`): The module's full name.
            path (`Sequence[str]`, *optional*): Where the package that it is in looks for modules.
            target (`ModuleType`, *optional*): The module itself, where it is imported again.

        Returns:
            `ModuleSpec` or `None`.
        """
        if name != self.dependency and not name.startswith(f"{self.package}."):
            return None
        behind = list(dropwhile(lambda finder: finder is not self, sys.meta_path))[1:]
        specs = (finder.find_spec(name, path, target) for finder in behind if hasattr(finder, "find_spec"))
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            # Of this loader alone, which stays what it is for those who read sources and data by it.
            spec.loader.exec_module = partial(self._run, spec.loader.exec_module)
        return spec

    def _run(self, exec_module: Callable[[ModuleType], None], module: ModuleType) -> None:
        with self.lock:
            self.num_running += 1
        try:
            exec_module(module)
            # The outermost module, of all threads.
            if self.num_running == 1 and self.dependency in sys.modules and self in sys.meta_path:
                self._call()
        finally:
            with self.lock:
                self.num_running -= 1

    def _call(self) -> None:
        try:
            self.call()
        except (ImportError, RuntimeError):
            # Another thread began to import meanwhile and has what is needed half done: it calls at its end.
            if self.num_running == 1:
                raise
        else:
            sys.meta_path.remove(self)


def register_with_transformers() -> None:
    """Registers the model now if Transformers is imported, and otherwise when it is."""
    if "transformers" in sys.modules:
        register_model()
    else:
        sys.meta_path.insert(0, AfterImport("transformers", __package__, register_model))
