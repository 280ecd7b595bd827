# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Checks a wheel: it holds all files of the package, as they are here, and nothing else but its metadata."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile


ROOT = Path(__file__).parents[1]
listed = subprocess.run(["git", "ls-files", "catseg_hf"], cwd=ROOT, capture_output=True, text=True, check=True)
# Pages about the code are for its clones.
wanted = {name for name in listed.stdout.splitlines() if name != "catseg_hf/README.md"}
with ZipFile(sys.argv[1]) as wheel:
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    if held != wanted:
        sys.exit(f"{sys.argv[1]} lacks {sorted(wanted - held)} and holds besides {sorted(held - wanted)}.")
    changed = [name for name in sorted(held) if wheel.read(name) != (ROOT / name).read_bytes()]
    if changed:
        sys.exit(f"{sys.argv[1]} has other versions of {changed}.")
print(f"{sys.argv[1]}: all {len(wanted)} files of the package")
