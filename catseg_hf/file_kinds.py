# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What kind of picture or video a file is, by its first bytes; by its ending where these say nothing."""

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple


class FileKind(NamedTuple):
    """What a file is.

    Args:
        kind (`str`):
            `"photo"`, which Pillow reads (HEIC with an extension), `"raw photo"`, `"unsupported picture"` or `"video"`.
        name (`str`): The format, such as `"HEIC"`.
        advice (`str`): What to do where such files are not taken; a sentence without its capital letter and full stop.
    """

    kind: Literal["photo", "raw photo", "unsupported picture", "video"]
    name: str
    advice: str


SAVE = "save it as JPEG or PNG"


def _photo(name: str, advice: str = SAVE) -> FileKind:
    return FileKind("photo", name, advice)


def _raw(name: str) -> FileKind:
    return FileKind("raw photo", name, "develop it, and save it as JPEG, PNG or TIFF")


def _picture(name: str) -> FileKind:
    return FileKind("unsupported picture", name, SAVE)


def _video(name: str) -> FileKind:
    return FileKind("video", name, "give it to `catseg segment` by itself, or save its frames as JPEG or PNG")


HEIC = _photo("HEIC", '`pip install "catseg-hf[heif]"`, or save it as JPEG or PNG')
AVIF, TIFF, WEBP, PHOTOSHOP = _photo("AVIF"), _photo("TIFF"), _photo("WebP"), _photo("Photoshop")
JPEG_XL, CANON, MP4, MPEG = _picture("JPEG XL"), _raw("Canon raw"), _video("MP4"), _video("MPEG")
QUICKTIME, MATROSKA, OGG = _video("QuickTime"), _video("Matroska"), _video("Ogg")
H264, H265 = _video("H.264"), _video("H.265")
TRANSPORT_STREAM = _video("MPEG transport stream")

SIGNATURES = (
    (b"\xff\xd8\xff", _photo("JPEG")),
    (b"\x89PNG\r\n\x1a\n", _photo("PNG")),
    (b"GIF87a", _photo("GIF")),
    (b"GIF89a", _photo("GIF")),
    (b"\0\0\0\x0cjP  \r\n\x87\n", _photo("JPEG 2000")),
    (b"\xff\x4f\xff\x51", _photo("JPEG 2000")),
    (b"\xff\x0a", JPEG_XL),
    (b"\0\0\0\x0cJXL \r\n\x87\n", JPEG_XL),
    (b"8BPS", PHOTOSHOP),
    (b"gimp xcf", _picture("GIMP")),
    (b"II\xbc\x01", _picture("JPEG XR")),
    (b"v/1\x01", _picture("OpenEXR")),
    (b"#?RADIANCE", _picture("Radiance HDR")),
    (b"IIRO", _raw("Olympus raw")),
    (b"IIRS", _raw("Olympus raw")),
    (b"MMOR", _raw("Olympus raw")),
    (b"IIU\0", _raw("Panasonic raw")),
    (b"FUJIFILMCCD-RAW", _raw("Fujifilm raw")),
    (b"FOVb", _raw("Sigma raw")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _video("Windows Media")),
    (b"FLV\x01", _video("Flash video")),
    (b"\0\0\x01\xba", MPEG),
    (b"\0\0\x01\xb3", MPEG),
    # As recorders of cameras write them, without a container: parameters of a sequence, or a mark before them.
    (b"\0\0\0\x01\x67", H264),
    (b"\0\0\0\x01\x27", H264),
    (b"\0\0\0\x01\x09", H264),
    (b"\0\0\0\x01\x40\x01", H265),
)
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Raw photos of most cameras begin as TIFF does: their endings tell them apart.
RAW_ENDINGS = {
    ".dng": _raw("DNG"),
    ".cr2": CANON,
    ".cr3": CANON,
    ".crw": CANON,
    ".nef": _raw("Nikon raw"),
    ".nrw": _raw("Nikon raw"),
    ".arw": _raw("Sony raw"),
    ".sr2": _raw("Sony raw"),
    ".orf": _raw("Olympus raw"),
    ".rw2": _raw("Panasonic raw"),
    ".raf": _raw("Fujifilm raw"),
    ".pef": _raw("Pentax raw"),
    ".srw": _raw("Samsung raw"),
    ".rwl": _raw("Leica raw"),
    ".3fr": _raw("Hasselblad raw"),
    ".iiq": _raw("Phase One raw"),
    ".x3f": _raw("Sigma raw"),
}
# Without `.ts` and `.mts`, which TypeScript has too: there the bytes decide alone.
ENDINGS = RAW_ENDINGS | {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), _photo("JPEG")),
    **dict.fromkeys((".tif", ".tiff"), TIFF),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), _photo("PPM")),
    **dict.fromkeys((".jp2", ".j2k"), _photo("JPEG 2000")),
    **dict.fromkeys((".heic", ".heif", ".hif"), HEIC),
    **dict.fromkeys((".psd", ".psb"), PHOTOSHOP),
    **dict.fromkeys((".mp4", ".m4v"), MP4),
    **dict.fromkeys((".mov", ".qt"), QUICKTIME),
    **dict.fromkeys((".mpg", ".mpeg", ".m2v", ".vob"), MPEG),
    **dict.fromkeys((".3gp", ".3g2"), _video("3GP")),
    ".png": _photo("PNG"),
    ".gif": _photo("GIF"),
    ".bmp": _photo("BMP"),
    ".tga": _photo("TGA"),
    ".webp": WEBP,
    ".avif": AVIF,
    ".jxl": JPEG_XL,
    ".jxr": _picture("JPEG XR"),
    ".xcf": _picture("GIMP"),
    ".exr": _picture("OpenEXR"),
    ".hdr": _picture("Radiance HDR"),
    ".svg": _picture("SVG"),
    **dict.fromkeys((".264", ".h264"), H264),
    **dict.fromkeys((".265", ".h265"), H265),
    ".mkv": MATROSKA,
    ".webm": _video("WebM"),
    ".avi": _video("AVI"),
    ".wmv": _video("Windows Media"),
    ".flv": _video("Flash video"),
    ".ogv": OGG,
    ".m2ts": TRANSPORT_STREAM,
}
# Containers that hold sound as well.
SOUND_ENDINGS = (".wma", ".mka", ".m4a", ".m4b", ".oga", ".ogg", ".opus")
# Packets of a transport stream: plain, with a time code of cameras and discs, with a checksum of broadcasts.
PACKETS, SYNC = (188, 192, 204), 0x47
HEAD = 4096


def kind_of(path: str | os.PathLike[str]) -> FileKind | None:
    """What kind of picture or video a file is.

    Args:
        path (`str` or `os.PathLike`): The file; of one that cannot be read, the ending decides.

    Returns:
        [`FileKind`], *optional*: `None` of anything else: texts, data, folders, and what macOS writes beside files
        (`._photo.jpg`).
    """
    path = Path(path)
    if path.name.startswith("._") or path.is_dir():
        return None
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError:
        head = b""
    return kind_of_bytes(head, path.suffix)


def kind_of_bytes(head: bytes, ending: str = "") -> FileKind | None:
    """What kind of picture or video begins so.

    Args:
        head (`bytes`): The first bytes, some thousand where there are as many.
        ending (`str`, *optional*, defaults to `""`): Of the file's name, such as `".jpg"`.

    Returns:
        [`FileKind`], *optional*: `None` of anything else.
    """
    ending = ending.lower()
    if ending in SOUND_ENDINGS:
        return None
    if head.startswith(TIFF_STARTS):
        return CANON if head[8:10] == b"CR" else RAW_ENDINGS.get(ending, TIFF)
    found = next((kind for start, kind in SIGNATURES if head.startswith(start)), None)
    return found or _boxes(head) or _other_containers(head) or ENDINGS.get(ending)


def _boxes(head: bytes) -> FileKind | None:
    """Files of boxes, as MP4 and QuickTime have them: the first one names the kinds that a file is of."""
    box = head[4:8]
    if box != b"ftyp":
        # QuickTime's before there was `ftyp`.
        return QUICKTIME if box in (b"moov", b"mdat", b"wide", b"pnot") else None
    size = min(int.from_bytes(head[:4], "big"), 256)
    brands = [head[8:12], *(head[start : start + 4] for start in range(16, size, 4))]
    if brands[0] in (b"M4A ", b"M4B "):
        return None
    if brands[0] == b"crx ":
        return CANON
    # Both may begin with the kind that is for pictures of any sort.
    if b"avif" in brands or b"avis" in brands:
        return AVIF
    if brands[0] in (b"mif1", b"msf1") or brands[0][:3] in (b"hei", b"hev"):
        return HEIC
    if brands[0] == b"qt  ":
        return QUICKTIME
    return _video("3GP") if brands[0].startswith((b"3gp", b"3g2")) else MP4


def _other_containers(head: bytes) -> FileKind | None:
    if head[:4] == b"RIFF":
        return {b"WEBP": WEBP, b"AVI ": _video("AVI")}.get(head[8:12])
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _video("WebM") if b"webm" in head[:64] else MATROSKA
    if head[:4] == b"OggS":
        return OGG if any(codec in head for codec in (b"\x80theora", b"OVP80", b"BBCD")) else None
    # Two letters are too few to tell: the size of the header, and four bytes that are zero.
    if head[:2] == b"BM" and head[6:10] == bytes(4) and head[14:18] in _BMP_HEADERS:
        return _photo("BMP")
    return TRANSPORT_STREAM if _is_transport_stream(head) else None


_BMP_HEADERS = tuple(size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124))


def _is_transport_stream(head: bytes) -> bool:
    """Whether packets follow each other, the first of which may have lost its beginning."""
    if head.isascii():
        return False
    return any(
        len(head) > start + 4 * size and all(head[start + number * size] == SYNC for number in range(5))
        for size in PACKETS
        for start in range(size)
    )


def sentences_about_left_out(files: Iterable[tuple[str, FileKind]]) -> list[str]:
    """Says which files were not taken.

    Args:
        files (`Iterable[tuple[str, FileKind]]`): The name of each, and what it is.

    Returns:
        `list[str]`: A sentence for each format: how many files, some names, and what to do.
    """
    by_format = defaultdict(list)
    for name, kind in files:
        by_format[kind].append(name)
    sentences = []
    for kind, names in sorted(by_format.items()):
        shown = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
        sentences.append(f"{len(names):,} {kind.kind}(s) left out, {kind.name}: {shown}; {kind.advice}.")
    return sentences


__all__ = ["HEIC", "FileKind", "kind_of", "kind_of_bytes", "sentences_about_left_out"]
