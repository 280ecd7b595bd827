# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What the `catseg` command does with photos and data sets, and the web page of `catseg demo`."""
