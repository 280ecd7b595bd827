# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Pictures, raw photos and videos are known by their first bytes, and by their endings where these say nothing."""

import io
from pathlib import Path

import pytest
from PIL import Image

from catseg_hf.file_kinds import kind_of, kind_of_bytes, sentences_about_left_out


def saved(file_format: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (5, 4)).save(file, file_format)
    return file.getvalue()


def boxes(brand: bytes, *further: bytes) -> bytes:
    content = b"ftyp" + brand + bytes(4) + b"".join(further)
    return (len(content) + 4).to_bytes(4, "big") + content + b"\0\0\0\x08mdat"


def transport_stream(packet: int, lost: int) -> bytes:
    return (b"\0" * (packet - 188) + b"\x47" + b"\xff" * 187).join([b""] * 12)[lost:]


@pytest.mark.parametrize(
    ("file_format", "name"),
    [("JPEG", "JPEG"), ("PNG", "PNG"), ("GIF", "GIF"), ("BMP", "BMP"), ("TIFF", "TIFF"), ("WEBP", "WebP")],
)
@pytest.mark.parametrize("ending", ["", ".heic", ".txt", ".mp4"])
def test_photos_that_pillow_writes_whatever_they_are_called(
    file_format: str, name: str, ending: str, tmp_path: Path
) -> None:
    (tmp_path / f"a{ending}").write_bytes(saved(file_format))
    assert kind_of(tmp_path / f"a{ending}")[:2] == ("photo", name)


@pytest.mark.parametrize(
    ("head", "kind", "name"),
    [
        (boxes(b"heic", b"mif1", b"heic"), "photo", "HEIC"),
        (boxes(b"mif1", b"mif1", b"heic"), "photo", "HEIC"),
        (boxes(b"hevc", b"msf1"), "photo", "HEIC"),
        (boxes(b"avif", b"mif1", b"miaf"), "photo", "AVIF"),
        (boxes(b"mif1", b"avif", b"miaf"), "photo", "AVIF"),
        (boxes(b"crx ", b"crx ", b"isom"), "raw photo", "Canon raw"),
        (boxes(b"isom", b"isom", b"iso2"), "video", "MP4"),
        (boxes(b"qt  "), "video", "QuickTime"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "video", "QuickTime"),
        (boxes(b"3gp4", b"isom"), "video", "3GP"),
        (b"\xff\x0a\xfa\x7f", "unsupported picture", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n\0\0", "unsupported picture", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n\0\0", "photo", "JPEG 2000"),
        (b"8BPS\0\1", "photo", "Photoshop"),
        (b"II*\0\x10\0\0\0CR\2\0", "raw photo", "Canon raw"),
        (b"IIRO\x08\0\0\0", "raw photo", "Olympus raw"),
        (b"IIU\0\x18\0\0\0", "raw photo", "Panasonic raw"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\1\x42\x82\x84webm", "video", "WebM"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\1\x42\x82\x88matroska", "video", "Matroska"),
        (b"RIFF\0\1\0\0AVI LIST", "video", "AVI"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9", "video", "Windows Media"),
        (b"FLV\1\5\0\0\0\x09", "video", "Flash video"),
        (b"OggS\0\2" + bytes(20) + b"\x01\x2a\x80theora", "video", "Ogg"),
        (b"\0\0\1\xba\x44\0", "video", "MPEG"),
        (b"\0\0\1\xb3\x14\0", "video", "MPEG"),
        (transport_stream(188, 0), "video", "MPEG transport stream"),
        (transport_stream(192, 0), "video", "MPEG transport stream"),
        (transport_stream(188, 99), "video", "MPEG transport stream"),
    ],
)
def test_first_bytes_decide(head: bytes, kind: str, name: str) -> None:
    for ending in ("", ".jpg", ".TS"):
        assert kind_of_bytes(head, ending)[:2] == (kind, name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.HEIC", "photo"),
        ("a.jpg", "photo"),
        ("a.jxl", "unsupported picture"),
        ("a.psd", "photo"),
        *((f"a{ending}", "raw photo") for ending in (".dng", ".CR2", ".cr3", ".nef", ".arw", ".orf", ".rw2")),
        *((f"a{ending}", "video") for ending in (".mp4", ".MOV", ".3gp", ".wmv", ".flv", ".ogv", ".m2v", ".m2ts")),
    ],
)
@pytest.mark.parametrize("content", [b"", b"\x01\x02\x03"])
def test_endings_decide_where_bytes_say_nothing(name: str, kind: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert kind_of(tmp_path / name).kind == kind
    assert kind_of(tmp_path / "missing" / name).kind == kind


def test_raw_photos_that_begin_as_tiff_are_known_by_their_ending() -> None:
    assert kind_of_bytes(saved("TIFF"), ".NEF")[:2] == ("raw photo", "Nikon raw")
    assert kind_of_bytes(saved("TIFF"), ".dng")[:2] == ("raw photo", "DNG")
    assert kind_of_bytes(saved("TIFF"), ".tif")[:2] == ("photo", "TIFF")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", b"GIF89 is no start of a picture"),
        ("notes.txt", b"BMW is not a picture, and this is longer than its header"),
        ("a.json", b'{"annotations": []}'),
        ("a.ts", b"export const GREETING = 1;\n" * 200),
        ("a.mts", b""),
        ("Thumbs.db", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)),
        (".DS_Store", b"\0\0\0\1Bud1\0\0\x10\0"),
        ("._photo.jpg", b"\0\5\x16\7\0\2\0\0Mac OS X"),
        ("song.m4a", boxes(b"M4A ", b"isom")),
        ("song", boxes(b"M4A ", b"isom")),
        ("song.opus", b"OggS\0\2" + bytes(22) + b"OpusHead"),
        ("song.ogg", b""),
        ("song.wma", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
        ("song.wav", b"RIFF\0\1\0\0WAVEfmt "),
        ("noise", bytes(range(256)) * 16),
        ("letters.txt", b"G" * 4096),
    ],
)
def test_other_files_are_none(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert kind_of(tmp_path / name) is None
    (tmp_path / "folder.jpg").mkdir()
    assert kind_of(tmp_path / "folder.jpg") is None


def test_what_is_left_out_is_counted_and_named() -> None:
    names = ["d.heic", "b.HEIC", "a.heic", "c.heic", "x.nef", "clip.mp4"]
    assert sentences_about_left_out((name, kind_of(name)) for name in names) == [
        '4 photo(s) left out, HEIC: a.heic, b.HEIC, c.heic, ...; `pip install "catseg-hf[heif]"`, or save it '
        "as JPEG or PNG.",
        "1 raw photo(s) left out, Nikon raw: x.nef; develop it, and save it as JPEG, PNG or TIFF.",
        "1 video(s) left out, MP4: clip.mp4; give it to `catseg segment` by itself, or save its frames as JPEG or PNG.",
    ]
