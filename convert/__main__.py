# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Runs `catseg_hf.conversion.command`."""

import sys

from catseg_hf.conversion.command import main


sys.exit(main())
