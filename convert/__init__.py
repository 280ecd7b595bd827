# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The command `python -m convert`; what it does is in `catseg_hf.conversion`."""
