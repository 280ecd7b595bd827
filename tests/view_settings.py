# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Settings of the image processor that several test files use."""

MMSEG = {
    "shortest_edge": 512,
    "longest_edge": 2048,
    "do_squash": False,
    "stride": 384,
    "global_view": False,
    "score_function": "softmax",
}
# A grid of 2 x 2 windows and a global view, small enough for exhaustive checks
SMALL = {"size": {"height": 40, "width": 40}, "window": 24, "stride": 16, "image_size": 24, "shortest_edge": 40}
