# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Text as people paste it, made into what CLIP was trained on: plain quotes, no entities, nothing invisible."""

import html
import re


# The characters that Unicode lists as ignorable in display (`Default_Ignorable_Code_Point`): byte-order mark, soft
# hyphen, zero-width space, marks of direction, ... Nobody sees them in a legend, but they change the tokens.
INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# But for joiners between letters or symbols that are not ASCII, whose shape they decide on: Persian, Hindi, emoji.
JOINERS = "\u200c\u200d"
_INVISIBLE = re.compile(rf"(?![{JOINERS}])[{INVISIBLE}]")
_IDLE_JOINER = re.compile(rf"(?<![^\x00-\x7f])[{JOINERS}]+|[{JOINERS}]+(?![^\x00-\x7f])")


def clean_text(text: str) -> str:
    """Text as the original's tokenizer cleans it, and without invisible characters.

    As in the original (`SimpleTokenizer` of CLIP), ftfy mends wrong encodings, typographic quotes, ligatures and
    full-width letters, entities such as `&amp;` become the characters that they stand for, and each white space one
    blank. This is repeated until nothing changes. Capital letters stay, as the tokenizer ignores them.

    Args:
        text (`str`): A class name, several, or a sentence.

    Returns:
        `str`: The text, without white space around it.

    Raises:
        ValueError: If the text needs ftfy, and that is not installed: as remote code, with only Transformers.

    Example:

    ```python
    >>> clean_text(" men\u2019s  room\ufeff &amp; \ufb01re engine ")
    "men's room & fire engine"
    ```
    """
    # What is printable ASCII without entities, ftfy leaves alone.
    if text.isascii() and text.isprintable() and "&" not in text:
        return " ".join(text.split())
    try:
        import ftfy
    except ImportError as error:
        raise ValueError(
            f"{text!r} has other characters than plain letters, digits and signs (ASCII), and cleaning it as for the "
            "original needs the library ftfy: `pip install ftfy`, or write it without them."
        ) from error
    previous = None
    while text != previous:
        previous = text
        text = html.unescape(html.unescape(ftfy.fix_text(text)))
        text = " ".join(_IDLE_JOINER.sub("", _INVISIBLE.sub("", text)).split())
    return text


__all__ = ["clean_text"]
