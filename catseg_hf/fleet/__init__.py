# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Any number of photos with one list of labels, on all cores and GPUs of a machine or of a cluster."""
