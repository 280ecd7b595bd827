# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A caller of `catseg serve`: python client.py photo.jpg "cat, grass". Needs `pip install httpx pycocotools`."""

import sys

import httpx
from pycocotools import mask


photo, labels = sys.argv[1:3]
with open(photo, "rb") as file:
    reply = httpx.post("http://127.0.0.1:8000/v1/segment", files={"image": file}, data={"labels": labels}, timeout=120)
if reply.is_error:
    sys.exit(reply.json()["error"]["message"])
for segment in reply.json()["segments"]:
    pixels = mask.decode(segment["mask"])  # height, width; 1 where the class is
    print(f"{segment['label']}: score {segment['score']:.2f}, {pixels.mean():.1%} of the photo")
