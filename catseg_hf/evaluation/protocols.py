# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The protocols of the original code bases: how an image is cut into views, and how their scores become a label map.

A protocol is a set of arguments of the image processor. Sources: CAT-Seg's `cat_seg_model.py`, `train_net.py` and
`test_time_augmentation.py` with detectron2's `DatasetMapperTTA`; MMSegmentation's `EncoderDecoder` and `SegTTAModel`.
"""

from dataclasses import dataclass
from typing import Any, Literal


# Names of the protocols: of CVPR 2024 and v1, of MMSegmentation, and the photo as one view.
PROTOCOL_NAMES = ("sliding_window", "mmseg_slide", "whole")
# Scales of test-time augmentation, of the shortest edge (original) or of the photo (MMSegmentation).
AUGMENTATION_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


@dataclass(frozen=True)
class Protocol:
    """How a photo is cut into views and how their logits become a label map.

    - `"sliding_window"`: that of the published CAT-Seg figures. Shortest edge 640 (longest at most 2560), squashed to
      640 x 640, 2 x 2 windows of 384 with stride 256 and the whole image as the fifth view; sigmoids are averaged.
    - `"mmseg_slide"`: MMSegmentation's. Shortest edge 512 (longest at most 2048; for PASCAL Context its configuration
      has 520 and 520), windows of 384 side by side, the last ones shifted back; logits are averaged.
    - `"whole"`: one view. Shortest edge 640 (longest at most 2560), squashed to the size that CLIP sees.

    Test-time augmentation, with several scales or `flip`, segments each photo once for each scale, and again mirrored,
    and averages the scores at the photo's size before the best class is taken. For `"sliding_window"` and `"whole"` it
    goes as in detectron2, which the original uses: the photo is resized as without augmentation, and from that to each
    scale times the shortest edge (longest at most 4000); sigmoids are averaged. For `"mmseg_slide"` it goes as in
    MMSegmentation: the photo itself is resized to each scale; the softmax over classes is averaged.

    Args:
        name (`"sliding_window"`, `"mmseg_slide"` or `"whole"`, *optional*, defaults to `"sliding_window"`):
            Which of these.
        scales (`tuple[float, ...]`, *optional*, defaults to `(1.0,)`):
            Scales of test-time augmentation, greater than 0. Both code bases use [`AUGMENTATION_SCALES`].
        flip (`bool`, *optional*, defaults to `False`): Whether test-time augmentation mirrors as well.
        shortest_edge, longest_edge (`int`, *optional*): Instead of those of the protocol, in pixels.

    Raises:
        ValueError: If an argument has a value that is not allowed, or the edges would not be used.

    Example:

    ```python
    >>> from catseg_hf.evaluation import AUGMENTATION_SCALES, Protocol

    >>> Protocol("whole").is_augmented, Protocol(scales=AUGMENTATION_SCALES, flip=True).is_augmented
    (False, True)
    ```
    """

    name: Literal["sliding_window", "mmseg_slide", "whole"] = "sliding_window"
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    shortest_edge: int | None = None
    longest_edge: int | None = None

    def __post_init__(self) -> None:
        if self.name not in PROTOCOL_NAMES:
            raise ValueError(f"There is no protocol {self.name!r}: use one of {', '.join(PROTOCOL_NAMES)}.")
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"`scales` must be numbers greater than 0, at least one, got {self.scales}.")
        edges = self.shortest_edge, self.longest_edge
        if self.name == "mmseg_slide" and self.is_augmented and edges != (None, None):
            raise ValueError(
                "`shortest_edge` and `longest_edge` have no effect on `mmseg_slide` with test-time augmentation, which "
                "resizes the photo itself to each scale: leave them out."
            )

    @property
    def is_augmented(self) -> bool:
        """Whether each photo is segmented several times."""
        return self.flip or self.scales != (1.0,)

    def image_arguments(self) -> dict[str, Any]:
        """The arguments of [`CatSegImageProcessor`] that the protocol stands for.

        Returns:
            `dict[str, Any]`: All that decide on geometry and scores; the size of the views, which belongs to the model,
            and the normalisation are not among them, and `"whole"` keeps the model's own `score_function`.
        """
        edges = (512, 2048) if self.name == "mmseg_slide" else (640, 2560)
        arguments = {
            "do_resize": True,
            "shortest_edge": edges[0] if self.shortest_edge is None else self.shortest_edge,
            "longest_edge": edges[1] if self.longest_edge is None else self.longest_edge,
            "pad_to_multiple": None,
            "do_sliding_window": self.name != "whole",
        }
        if self.name == "sliding_window":
            arguments |= {"do_squash": True, "size": {"height": 640, "width": 640}, "window": 384, "stride": 256}
            arguments |= {"global_view": True, "score_function": "sigmoid"}
        elif self.name == "mmseg_slide":
            arguments |= {"do_squash": False, "window": 384, "stride": 384}
            arguments |= {"global_view": False, "score_function": "softmax"}
        return arguments


__all__ = ["AUGMENTATION_SCALES", "PROTOCOL_NAMES", "Protocol"]
