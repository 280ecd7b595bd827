# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Prints constraints.txt with what the package itself asks for at the lowest versions that pyproject.toml allows."""

import re
from pathlib import Path

import tomllib


ROOT = Path(__file__).parents[1]
dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
floors = dict(re.match(r"([\w-]+)>=([\d.]+)", dependency).groups() for dependency in dependencies)
for line in (ROOT / "constraints.txt").read_text().splitlines():
    name = line.split("==")[0].lower().replace("_", "-")
    print(f"{name}=={floors[name]}" if name in floors else line)
