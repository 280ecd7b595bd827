# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""How many requests a service answers, and how fast; with `pip install locust`:

    locust --headless -f load_test.py --host http://127.0.0.1:8000 --users 8 --spawn-rate 8 --run-time 1m

The words are the same for all requests, or, with WORDS=different before the command, others in each.
"""

import itertools
import os
from io import BytesIO

from locust import HttpUser, task

from catseg_hf.scenes import COLORS, SHAPES, draw_scene


def drawn_photo(seed: int, size: int = 256) -> bytes:
    """A drawn scene as a PNG."""
    file = BytesIO()
    draw_scene(seed, size).image.save(file, format="PNG")
    return file.getvalue()


PHOTOS = itertools.cycle([drawn_photo(seed) for seed in range(8)])
NAMES = [f"{color} {shape}" for color in COLORS for shape in SHAPES]
# Two names of 64, in any order: 4,032 vocabularies.
VOCABULARIES = itertools.cycle(f"{first}, {second}, ground" for first, second in itertools.permutations(NAMES, 2))
IS_DIFFERENT = os.environ.get("WORDS") == "different"


class Caller(HttpUser):
    """Asks again as soon as it is answered."""

    @task
    def segment(self) -> None:
        """One request."""
        labels = next(VOCABULARIES) if IS_DIFFERENT else "red star, blue moon, ground"
        self.client.post("/v1/segment", files={"image": next(PHOTOS)}, data={"labels": labels})
