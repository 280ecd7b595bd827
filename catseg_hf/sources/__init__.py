# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What `catseg segment` takes: photos, videos and large images; one object in one file, found in one list."""
