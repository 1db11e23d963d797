"""Manifests: what is read back is what was written, and a mistake is named with its line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from relit.data.manifest import read_manifest, write_manifest
from relit.data.rows import Row
from relit.errors import ConfigurationError


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def manifest(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "m.csv"
    path.write_text(text, encoding=encoding)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "ref/a.jpg"):
        touch(tmp_path / name)
    return tmp_path


def awkward_rows(folder: Path) -> list[Row]:
    names = (
        "plain.png",
        "with, comma.JPG",
        'a "quoted" one.png',
        "Zürich 東京.png",
        " space .png",
        "new\nline.png",
    )
    inputs = [touch(folder / "deep" / "input" / name) for name in names]
    references = [touch(folder / "gt" / name) for name in names]
    rows = [
        Row(source, target, split, "under", f"scene, {place}")
        for place, (source, target, split) in enumerate(
            zip(inputs, references, ("train", "val", "test") * 2, strict=True)
        )
    ]
    return [*rows, Row(inputs[0], None, "test", "", "0")]


@pytest.mark.parametrize("name", ["m.csv", "M.CSV", "m.parquet", "new/folder/m.csv"])
def test_rows_come_back_exactly_and_in_order(tmp_path: Path, name: str) -> None:
    rows = awkward_rows(tmp_path / "photos")
    write_manifest(tmp_path / name, rows)
    assert read_manifest(tmp_path / name) == rows


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_a_manifest_moves_with_the_files_below_its_folder(tmp_path: Path, name: str) -> None:
    inside, outside = touch(tmp_path / "here" / "in" / "a.png"), touch(tmp_path / "elsewhere" / "b.png")
    write_manifest(tmp_path / "here" / name, [Row(inside, outside, "train", "", "a")])
    (tmp_path / "here").rename(tmp_path / "there")
    [row] = read_manifest(tmp_path / "there" / name)
    assert (row.input, row.reference) == (tmp_path / "there" / "in" / "a.png", outside)


def test_the_file_itself_is_plain(tmp_path: Path) -> None:
    write_manifest(
        tmp_path / "m.csv",
        [Row(touch(tmp_path / "in" / "a.png"), touch(tmp_path / "gt" / "a.jpg"), "val", "over", "7")],
    )
    assert (tmp_path / "m.csv").read_text() == (
        "input,reference,split,label,scene\nin/a.png,gt/a.jpg,val,over,7\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gt", "in", "m.csv"]


def test_relative_rows_are_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "data" / "in" / "a.png")
    monkeypatch.chdir(tmp_path)
    rows = [Row(Path("data/in/a.png"), None, "train", "", "a")]
    write_manifest("data/m.csv", rows)
    assert (tmp_path / "data" / "m.csv").read_text().splitlines()[1] == "in/a.png,,train,,a"
    assert read_manifest("data/m.csv") == rows


def test_only_the_input_is_needed(photos: Path) -> None:
    assert read_manifest(manifest(photos, "input\nref/a.jpg\n")) == [
        Row(photos / "ref" / "a.jpg", None, "train", "", "ref/a")
    ]


def test_columns_in_any_order_empty_cells_and_blank_lines(photos: Path) -> None:
    text = "scene, input ,split,reference\n\n,a.png,,ref/a.jpg\ns,b.png,test,\n"
    assert read_manifest(manifest(photos, text)) == [
        Row(photos / "a.png", photos / "ref" / "a.jpg", "train", "", "a"),
        Row(photos / "b.png", None, "test", "", "s"),
    ]


def test_what_excel_saves_is_read(photos: Path) -> None:
    text = "input,reference\r\na.png,ref/a.jpg\r\n"
    [row] = read_manifest(manifest(photos, text, encoding="utf-8-sig"))
    assert row.input == photos / "a.png"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty: begin it with the header input,reference,split,label,scene"),
        ("input,split\n", "has no rows"),
        ("reference\na.png\n", "no column 'input'"),
        ("input,refrence\na.png,\n", "unknown column 'refrence': did you mean 'reference'"),
        ("input,exposure\na.png,2\n", "unknown column 'exposure': remove or rename it"),
        ("Input\na.png\n", "unknown column 'Input': did you mean 'input'"),
        ("input,label,label\na.png,,\n", "two columns are named 'label'"),
        ("input;split\na.png;test\n", "semicolons: save it with commas"),
        (
            "input,split\na.png,train\nb.png,dev\n",
            "line 3: no split is called 'dev': write one of train, val, test",
        ),
        ("input,split\na.png,train\n,test\n", "line 3: the input is empty"),
        ("input,split\na, b.png,train\n", "line 2: 3 cells under 2 columns"),
        ('input\na.png\n"b.png\n', "line 3: unexpected end of data"),
    ],
)
def test_mistakes_are_named_with_file_line_and_remedy(photos: Path, text: str, said: str) -> None:
    path = manifest(photos, text)
    with pytest.raises(ConfigurationError) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)


def test_files_that_do_not_exist_are_counted_and_the_first_named(photos: Path) -> None:
    (photos / "loop.png").symlink_to(photos / "loop.png")
    text = "input,reference\na.png,gone.png\n" + "".join(f"x{i}.png,\n" for i in range(9)) + "loop.png,ref\n"
    with pytest.raises(ConfigurationError) as caught:
        read_manifest(manifest(photos, text))
    said = str(caught.value)
    assert "12 of the files" in said
    assert (
        f"{photos / 'gone.png'} (line 2), {photos / 'x0.png'} (line 3), {photos / 'x1.png'} (line 4)" in said
    )
    assert "and 9 more" in said


def test_other_encodings_and_endings_are_refused(photos: Path) -> None:
    path = photos / "latin.csv"
    path.write_bytes("input\nZürich.png\n".encode("latin-1"))
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        read_manifest(path)
    with pytest.raises(ConfigurationError, match=r"ends in \.csv or \.parquet"):
        read_manifest(photos / "a.png")
    with pytest.raises(ConfigurationError, match=r"ends in \.csv or \.parquet"):
        write_manifest(photos / "m.tsv", [])
    with pytest.raises(ConfigurationError, match=r"nothing\.csv: no such manifest"):
        read_manifest(photos / "nothing.csv")
    (photos / "text.parquet").write_text("input\n")
    with pytest.raises(ConfigurationError, match=r"text\.parquet: is not a Parquet file"):
        read_manifest(photos / "text.parquet")


def test_a_name_that_is_no_text_leaves_the_old_manifest_alone(photos: Path) -> None:
    path = photos / "m.csv"
    write_manifest(path, [Row(photos / "a.png", None, "train", "", "a")])
    before = path.read_bytes()
    rows = [Row(photos / name, None, "train", "", name) for name in ("a.png", "\udcff.png")]
    with pytest.raises(ConfigurationError, match=r"m\.csv, row 2: cannot hold '\\udcff\.png', .*rename"):
        write_manifest(path, rows)
    assert path.read_bytes() == before


def test_parquet_of_other_programs_is_read(photos: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder = photos / "split=test"  # looks like a partition, and is none
    touch(folder / "a.png")
    table = pyarrow.table(
        {
            "input": pyarrow.array(["a.png", "a.png"]).dictionary_encode(),
            "reference": [None, "../b.png"],
            "scene": [7, 8],
        }
    )
    parquet.write_table(table, folder / "m.parquet")
    assert read_manifest(folder / "m.parquet") == [
        Row(folder / "a.png", None, "train", "", "7"),
        Row(folder / "a.png", folder / "../b.png", "train", "", "8"),
    ]


def test_csv_needs_no_pyarrow_and_parquet_says_what_to_install(photos: Path) -> None:
    code = (
        "import sys\nsys.modules['pyarrow'] = None\n"
        "from relit.data.manifest import read_manifest, write_manifest\n"
        "from relit.errors import ConfigurationError\n"
        "write_manifest('copy.csv', read_manifest('m.csv'))\n"
        "assert 'torch' not in sys.modules\n"
        "try:\n    write_manifest('m.parquet', [])\n"
        "except ConfigurationError as error:\n    print(error)"
    )
    manifest(photos, "input\na.png\n")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=photos)
    assert "pip install 'relit[parquet]'" in ran.stdout
    assert (photos / "copy.csv").exists()
