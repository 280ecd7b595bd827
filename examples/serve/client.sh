#!/bin/sh
# A caller of `catseg serve` with curl: sh client.sh photo.jpg "cat, grass" overlay.png
curl --fail-with-body --silent --show-error http://127.0.0.1:8000/v1/segment \
    --form "image=@$1" --form "labels=$2" --form format=overlay --output "$3"
