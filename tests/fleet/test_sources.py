# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Which photos a fleet finds, what their results are called, and how they are handed out."""

from pathlib import Path

import pytest


pytest.importorskip("pyarrow")
import pyarrow as pa
import pyarrow.parquet as pq

from catseg_hf.fleet.sources import Files, Item, Names, ParquetFiles, find_source
from catseg_hf.formats import find_format
from catseg_hf.formats.parquet_rows import SCHEMA, ParquetRows
from catseg_hf.sources.found import find_inputs
from catseg_hf.sources.places import place_several, targets_of


OUTPUT = Path("segmented")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def stems(source: Files | ParquetFiles, keep_endings: bool = True) -> tuple[dict[str, str], dict[str, str]]:
    problems: dict[str, str] = {}
    return {item.name: item.stem for item in source.items(keep_endings, problems)}, problems


def write_parquet(path: str, values: list[object], kind: pa.DataType, rows_of_a_group: int = 3) -> None:
    table = pa.table({"image": pa.array(values, kind), "id": list(range(len(values)))})
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows_of_a_group)


def test_names_that_occur_more_than_once() -> None:
    names = ["a", "b", "a", "c", "A", "d"]
    repeated = Names(iter(names), repeated=True)
    assert [name in repeated for name in names] == [True, False, True, False, False, False]
    every = Names(names)
    assert all(name in every for name in names) and "e" not in every and "" not in every
    assert "a" not in Names([])


def test_a_folder_has_the_names_that_one_process_gives(place: Path) -> None:
    touch("photos/x.jpg", "photos/X.png", "photos/y.jpg", "photos/a/x.jpg", "photos/a/z.tar.jpg", "photos/.hidden.jpg")
    touch("photos/notes.txt", "photos/out/y.png")
    formats, problems = [find_format("overlay"), find_format("json")], {}
    photos = place_several(find_inputs(["photos"], Path("photos/out"), problems), Path("photos/out"), formats, problems)
    found, own_problems = stems(Files(Path("photos"), Path("photos/out")))
    assert {name: targets_of(Path(stem), Path("photos/out"), formats) for name, stem in found.items()} == {
        photo.name: photo.targets for photo in photos
    }
    assert problems == own_problems == {} and len(found) == 5
    assert found["photos/x.jpg"] == "x.jpg" and found["photos/y.jpg"] == "y"


def test_without_endings_the_second_of_a_name_is_refused(place: Path) -> None:
    touch("photos/x.jpg", "photos/x.png")
    assert stems(Files(Path("photos"), OUTPUT), keep_endings=False) == (
        {"photos/x.jpg": "x"},
        {"photos/x.png": "its results would replace those of photos/x.jpg: segment it alone, or rename it."},
    )


def test_a_list_has_names_below_the_last_shared_folder(place: Path) -> None:
    lines = ["in/a/x.jpg", f"{place}/in/b/x.jpg", "", "./in/a/x.jpg", "in/a/x.png", "in/b/ä.jpg"]
    Path("list.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode() + b"\r\nin/c/\xff.jpg\r\n")
    found, problems = stems(Files(Path("list.txt"), OUTPUT))
    assert list(found.values()) == ["a/x.jpg", "b/x", "a/x.png", "b/ä"]
    assert problems == {"in/c/\udcff.jpg": "its name is not UTF-8: rename it."}
    Path("list.txt").write_text("in/a/x.jpg\nin/a/y.jpg\n")
    assert list(stems(Files(Path("list.txt"), OUTPUT))[0].values()) == ["x", "y"]
    Path("list.txt").write_text("")
    assert stems(Files(Path("list.txt"), OUTPUT)) == ({}, {})


def test_addresses_in_a_list(place: Path) -> None:
    lines = [
        "https://h.org/p/x.jpg?a=1",
        "https://h.org/p/x.jpg?a=2",
        "https://h.org/../../etc/a%2Fb:c.png",
        "https://g",
    ]
    Path("list.txt").write_text("\n".join(lines))
    found, problems = stems(Files(Path("list.txt"), OUTPUT))
    assert list(found.values()) == ["h.org/p/x.jpg", "h.org/etc/a/b_c", "g"]
    assert problems == {lines[1]: f"its results would replace those of {lines[0]}: segment it alone, or rename it."}


def test_photos_among_results_are_refused(place: Path) -> None:
    Path("list.txt").write_text("segmented/x.jpg\ny.jpg\n")
    found, problems = stems(Files(Path("list.txt"), OUTPUT))
    assert list(found) == ["y.jpg"]
    assert problems == {"segmented/x.jpg": "it lies in the folder of results: name another --output."}


@pytest.mark.parametrize(
    "kind", [pa.binary(), pa.large_binary(), pa.struct([("bytes", pa.binary()), ("path", pa.string())])], ids=str
)
def test_rows_of_parquet_are_named_by_file_and_number(place: Path, kind: pa.DataType) -> None:
    for name, number in (("data/one.parquet", 11), ("data/sub/two.parquet", 2)):
        is_struct = pa.types.is_struct(kind)
        write_parquet(name, [{"bytes": b"1", "path": "p"} if is_struct else b"1"] * number, kind)
    problems: dict[str, str] = {}
    items = list(find_source(["data"], OUTPUT, "image").items(True, problems))
    assert problems == {}
    assert [item.name for item in items] == [*(f"one/{i:02}" for i in range(11)), "sub/two/0", "sub/two/1"]
    assert {item.image_id == item.stem == item.name for item in items} == {True}
    assert items[7] == Item("one/07", "one/07", "one/07", str(place / "data" / "one.parquet"), 2, 1)
    # Results are no source, and what a kill left neither.
    write_parquet("data/out/part-00000.parquet", [1], pa.int64())
    Path("data/.unfinished-1-x.parquet").touch()
    assert list(find_source(["data"], Path("data/out"), "image").items(True, problems)) == items
    (first, *_) = find_source(["data/one.parquet"], OUTPUT, "image").items(True, problems)
    assert first == items[0]


def test_parquet_without_photos_is_refused(place: Path) -> None:
    write_parquet("a.parquet", [1, 2], pa.int64())
    source = find_source(["a.parquet"], OUTPUT, "image")
    with pytest.raises(ValueError, match="int64 in its column 'image'"):
        list(source.items(True, {}))
    with pytest.raises(ValueError, match="no column 'photo': name one of image, id with --image-column"):
        list(find_source(["a.parquet"], OUTPUT, "photo").items(True, {}))
    Path("b").mkdir()
    Path("b/x.parquet").write_bytes(b"PAR1 no more")
    problems: dict[str, str] = {}
    assert list(find_source(["b"], OUTPUT, "image").items(True, problems)) == []
    assert list(problems) == ["b/x.parquet"] and "cannot be read as Parquet" in problems["b/x.parquet"]


def test_other_sources_are_refused(place: Path) -> None:
    touch("photos/x.jpg", "photos/y.parquet", "x.jpg", "sub/photos/x.jpg")
    for inputs, output, message in [
        (["photos", "x.jpg"], "out", "there are 2: write the paths of all photos into a list"),
        (["none"], "out", "none: there is no such file or folder"),
        (["-"], "out", "-: there is no such file or folder"),
        (["photos"], "out", "holds both photos and Parquet files"),
        (["x.jpg"], "out", "not x.jpg: leave out --engine ray"),
        (["photos"], "photos", "holds the photos themselves"),
        (["sub/photos"], "sub", "holds the photos themselves"),
        (["sub"], "out.png", "must be a folder"),
        (["sub"], "x.jpg", "must be a folder"),
    ]:
        with pytest.raises(ValueError, match=message):
            find_source(inputs, Path(output), "image")


def rows(*names: str) -> pa.Table:
    return pa.Table.from_pylist([{"image_id": name, "annotations": []} for name in names], SCHEMA)


def test_results_go_on_and_are_of_one_kind(tmp_path: Path) -> None:
    made_with = {"labels": ["a"], "model": "tiny"}
    with ParquetRows(tmp_path / "out", made_with, goes_on=False) as results:
        results.add(rows("x", "y"))
        assert not (tmp_path / "out").exists()
        results.add(rows())
    with pytest.raises(ValueError, match="holds results already: go on with --skip-existing"):
        ParquetRows(tmp_path / "out", made_with, goes_on=False)
    with pytest.raises(ValueError, match="was made with .*tiny.* and not with .*base"):
        ParquetRows(tmp_path / "out", {**made_with, "model": "base"}, goes_on=True)
    # What a kill left is no part.
    (tmp_path / "out" / ".unfinished-1-part-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(RuntimeError), ParquetRows(tmp_path / "out", made_with, goes_on=True) as results:
        assert [name in Names(results.earlier_ids()) for name in ("x", "X", "z")] == [True, False, False]
        results.add(rows("z"))
        raise RuntimeError  # the rows before it are kept
    assert sorted(path.name for path in (tmp_path / "out").glob("part*")) == [
        "part-00000.parquet",
        "part-00001.parquet",
    ]
    assert pq.read_table(tmp_path / "out")["image_id"].to_pylist() == ["x", "y", "z"]


def test_many_rows_are_files_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catseg_hf.formats.parquet_rows.FILE_ROWS", 2)
    with ParquetRows(tmp_path, {}, goes_on=False) as results:
        for name in "abcde":
            results.add(rows(name))
    found = sorted(tmp_path.iterdir())
    assert [pq.read_metadata(path).num_rows for path in found] == [2, 2, 1]
