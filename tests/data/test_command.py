"""``relit data`` from a shell: what is printed, written and returned."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import replicas

from relit.cli import main
from relit.data import verify
from relit.data.layouts import LAYOUTS
from relit.data.manifest import read_manifest

CONFIGURATIONS = Path(__file__).parents[2] / "conf" / "data"


@pytest.fixture(autouse=True)
def _working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is said when ``relit data`` refuses with status 2."""
    assert main(["data", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"relit data {arguments[0]}: ")
    assert "data.root" not in said.err
    return said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["--help"],
        ["verify", "sice_v2", "--root", "."],
        ["prepare", "sice_v2", "--root", ".", "--size", "8"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_no_command_imports_torch(arguments: list[str], tmp_path: Path) -> None:
    replicas.sice_v2(tmp_path)
    code = (
        "import sys\nfrom relit.cli import main\n"
        f"try:\n    main({['data', *arguments]})\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout


def test_list_shows_every_data_set_and_a_configuration_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    table, *origins = capsys.readouterr().out.split("\n\n")
    lines = table.splitlines()
    assert lines[0].split() == ["name", "photographs", "train", "val", "test", "protocol", "train", "with"]
    assert [line.split()[0] for line in lines[1:]] == list(LAYOUTS)
    assert any("589 brackets of 4,413 photographs" in origin for origin in origins)
    assert "  1,415  100    218  lcdp        data=lcdp" in table
    for line in lines[1:]:
        assert (CONFIGURATIONS / f"{line.split('data=')[1]}.yaml").is_file()
    for layout, origin in zip(LAYOUTS.values(), origins, strict=True):
        assert origin.split()[0] == layout.name
        assert layout.source in origin
        assert layout.licence in origin
        assert layout.notes in origin


@pytest.mark.parametrize("command", ["list", "verify", "prepare"])
def test_each_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["data", command, "--help"])
    assert exit_.value.code == 0
    said = capsys.readouterr().out
    assert f"usage: relit data {command}" in said
    said = " ".join(said.split())
    if command != "list":
        assert "Exit status" in said
    assert ("about 7 GB" in said) == (command == "prepare")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["verify", "lcdp"],
        ["prepare", "--root", "."],
        ["prepare", "lcdp", "--root", ".", "--size", "0"],
        ["prepare", "lcdp", "--root", ".", "--size", "big"],
    ],
    ids=str,
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["data", *arguments])
    assert exit_.value.code == 2
    assert "usage: relit data" in capsys.readouterr().err


def test_verify_prints_a_table_and_writes_the_same_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = replicas.sice_v2(tmp_path / "data") / "SICEV2"
    replicas.cut_off(home / "train" / "low" / "10.JPG")
    assert main(["data", "verify", "sice_v2", "--root", "data"]) == 1
    said = capsys.readouterr()
    assert "train/low/10.JPG: cut off before its end" in said.out
    assert said.out.endswith("report: sice_v2.verify.json\n")
    report = json.loads((tmp_path / "sice_v2.verify.json").read_text())
    assert report == verify.verify(LAYOUTS["sice_v2"], "data").as_dict()
    assert report["faults"] >= 1


def test_verify_exits_with_0_where_there_is_no_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replicas.scaled(LAYOUTS["lcdp"], counts={"train": 2, "val": 1, "test": 2})
    monkeypatch.setitem(LAYOUTS, "lcdp", small)
    replicas.lcdp(tmp_path)
    assert main(["data", "verify", "lcdp", "--root", ".", "--deep", "--json", "out/lcdp.json"]) == 0
    said = capsys.readouterr().out
    assert "no fault" in said
    assert "out/lcdp.json" in said
    assert json.loads(Path("out/lcdp.json").read_text())["deep"] is True


def leaks() -> list[str]:
    """Messages of the leaks in the report on MSEC."""
    findings = json.loads(Path("msec.verify.json").read_text())["findings"]
    return [one["message"] for one in findings if one["kind"] == "leak"]


def test_verify_against_another_data_set_finds_shared_scenes(tmp_path: Path) -> None:
    replicas.lcdp(tmp_path / "one")
    replicas.msec(tmp_path / "two")
    command = ["data", "verify", "msec", "--root", "two", "--against", "lcdp=one"]
    main(command)
    assert leaks() == []
    for folder in ("input", "gt"):
        replicas.put(tmp_path / "one" / "lcdp_dataset" / folder / "a0301-again.png")
    assert main(command) == 1
    [message] = leaks()
    assert "a0301" in message


def test_verify_refuses_with_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replicas.lcdp(tmp_path)
    assert "did you mean lcdp?" in refusal(capsys, "verify", "lcpd", "--root", ".")
    assert "does not hold MSEC" in refusal(capsys, "verify", "msec", "--root", ".")
    assert "nowhere does not exist" in refusal(capsys, "verify", "lcdp", "--root", "nowhere")
    assert "NAME=DIR" in refusal(capsys, "verify", "lcdp", "--root", ".", "--against", "msec")
    assert "no data set 'x'" in refusal(capsys, "verify", "lcdp", "--root", ".", "--against", "x=.")
    assert "does not hold MSEC" in refusal(capsys, "verify", "lcdp", "--root", ".", "--against", "msec=.")
    assert "is a folder" in refusal(capsys, "verify", "lcdp", "--root", ".", "--json", ".")
    assert [path.name for path in tmp_path.iterdir()] == ["lcdp_dataset"]


def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*arguments: object, **options: object) -> None:
        pytest.fail("began to work")

    monkeypatch.setattr(verify, "verify", work)
    replicas.lcdp(tmp_path)
    (tmp_path / "file").touch()
    for path in ("file/report.json", "file/deep/report.json", "/proc/report.json"):
        said = refusal(capsys, "verify", "lcdp", "--root", ".", "--json", path)
        assert said.startswith(f"relit data verify: {path}: ")
        assert ".tmp" not in said


def test_names_that_are_no_text_and_terminals_that_show_few_are_no_traceback(tmp_path: Path) -> None:
    home = replicas.lcdp(tmp_path) / "lcdp_dataset"
    for folder in ("input", "gt"):
        path = home / folder / "a0001-jmac_DSC1459.png"
        path.rename(path.with_name(os.fsdecode(b"\xe9t\xe9.png")))
    replicas.put(home / "input" / "Zürich.png")
    code = "import sys; from relit.cli import main; sys.exit(main(['data', *sys.argv[1:]]))"
    command = [sys.executable, "-c", code]
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for environment in (plain, {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}):
        options = {"capture_output": True, "cwd": tmp_path, "env": environment}
        ran = subprocess.run([*command, "verify", "lcdp", "--root", "."], **options)
        assert ran.returncode == 1
        assert b"Traceback" not in ran.stderr
        assert b"\\udce9t\\udce9.png" in ran.stdout
    findings = json.loads((tmp_path / "lcdp.verify.json").read_text())["findings"]
    assert os.fsencode(next(one["where"] for one in findings if one["kind"] == "name")).endswith(
        b"\xe9t\xe9.png"
    )


def test_a_reader_that_has_enough_ends_the_command_quietly() -> None:
    code = "import sys; from relit.cli import main; sys.exit(main(['data', 'list']))"
    reading, writing = os.pipe()
    os.close(reading)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    ran = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, env=buffered)
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (141, b"")


def test_prepare_says_what_it_wrote_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replicas.lcdp(tmp_path)
    assert main(["data", "prepare", "lcdp", "--root", "."]) == 0
    assert capsys.readouterr().out == "lcdp.csv: 5 rows, 2 train, 1 val, 2 test\n"
    assert len(read_manifest("lcdp.csv")) == 5
    for expected in ("10 copies written, 0 were there already", "0 copies written, 10 were there already"):
        assert main(["data", "prepare", "lcdp", "--root", ".", "--size", "8"]) == 0
        assert capsys.readouterr().out == (
            f"lcdp_8px.csv: 5 rows, 2 train, 1 val, 2 test\nlcdp_8px: {expected}\n"
        )


def test_prepare_counts_and_names_what_it_could_not_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = replicas.backlit300(tmp_path) / "Backlit300"
    for number in range(7):
        (inputs / f"broken{number}.jpg").write_bytes(b"no photograph")
    assert main(["data", "prepare", "backlit300", "--root", ".", "--size", "8"]) == 1
    said = capsys.readouterr()
    assert "backlit300_8px.csv: 3 rows, 3 test" in said.out
    complaint = said.err.splitlines()[-1]
    assert complaint.startswith(
        "relit data prepare: 7 photographs not copied: Backlit300/broken0.jpg (not an image"
    )
    assert complaint.endswith("and 2 more")


def test_prepare_points_to_verify_where_the_data_set_has_faults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (replicas.lcdp(tmp_path) / "lcdp_dataset" / "test-gt" / "a0017-IMG_0005.png").unlink()
    assert main(["data", "prepare", "lcdp", "--root", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "1 fault of the data set (files were not opened), see: relit data verify lcdp" in said
    assert "unmatched" in said
    assert "a0017-IMG_0005.png" in said


def test_prepare_does_not_end_well_where_a_folder_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(replicas.baid(tmp_path) / "DIV2K_384")
    assert main(["data", "prepare", "baid", "--root", str(tmp_path)]) == 1
    assert "DIV2K_384" in capsys.readouterr().out


def test_prepare_refuses_with_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "https://github.com/onpix/LCDPNet" in refusal(capsys, "prepare", "lcdp", "--root", ".")
    assert "https://github.com/csjcai/SICE" in refusal(capsys, "prepare", "sice", "--root", "nowhere")
    replicas.lcdp(tmp_path)
    assert ".parquet: rename" in refusal(capsys, "prepare", "lcdp", "--root", ".", "--manifest", "a.txt")


def test_an_interruption_exits_with_130(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, "verify", interrupted)
    replicas.lcdp(tmp_path)
    assert main(["data", "verify", "lcdp", "--root", "."]) == 130


def test_real_brackets_have_no_fault(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "verify", "sice_v2", "--root", str(shared / "photos")]) == 0
    assert "no fault" in capsys.readouterr().out
