# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Texts have the room that they are given."""

from PIL import ImageFont

from catseg_hf.pictures.text import shortened


def test_long_names_are_cut_to_the_width() -> None:
    letters = ImageFont.load_default(20)
    name = "a name, that is rather long"
    widths = [letters.getlength(shortened(name, letters, width)) for width in range(20, 400, 7)]
    assert all(found <= width for found, width in zip(widths, range(20, 400, 7), strict=True))
    assert widths == sorted(widths) and shortened(name, letters, 400) == name
    assert shortened(name, letters, 1) == "…"
    # Not one letter less than there is room for.
    assert shortened(name, letters, letters.getlength("a nam…")) == "a nam…"
