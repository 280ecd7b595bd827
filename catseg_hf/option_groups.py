# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Options that belong together: one dataclass, the same in Python and behind the command."""

from dataclasses import field, fields
from typing import Any, ClassVar


def option(default: Any, **described: Any) -> Any:
    """A field of an [`OptionGroup`].

    Args:
        default: Its default.
        described: What the command line says of it: `help`, `min`, `max`, `show_default`.

    Returns:
        A field of a dataclass.
    """
    return field(default=default, metadata=described)


class OptionGroup:
    """Base of dataclasses of options; the command makes an option of each of their fields.

    Attributes:
        panel (`str`, *optional*): What the command line calls them; `None` leaves them among its other options.
    """

    panel: ClassVar[str | None]

    def given(self) -> list[str]:
        """The options that do not have their defaults.

        Returns:
            `list[str]`: Their names.
        """
        return [each.name for each in fields(self) if getattr(self, each.name) != each.default]  # type: ignore[arg-type]


__all__ = ["OptionGroup", "option"]
