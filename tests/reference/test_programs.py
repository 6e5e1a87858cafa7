"""A program of the user's own as part of the level of theory: its words and its files."""

import hashlib
from pathlib import Path

import pytest

from phasewalk.labels.levels import Level
from phasewalk.reference import programs
from phasewalk.reference.settings import ReferenceSettings


def level(*command: str) -> Level:
    """The level of theory of the default reference, computed by a command."""
    settings = ReferenceSettings(command=list(command) or None)
    return programs.load(settings, Path("/"), {}).method


def file(path: Path, text: str = "1") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("PBE/DZVP", "HF/DZVP"),
        ("--theory=a/b", "--theory=c/b"),
        ("./a/x", "./b/x"),
    ],
)
def test_words_that_are_no_files_count_whole(one: str, other: str) -> None:
    assert level("python3", "-m", "ref", one).key != level("python3", "-m", "ref", other).key


TEXTS = (
    "{}",
    "--model={}",
    "-m{}",
    "MODEL={}",
    "python /x/y.py {} > /dev/null",
    "python -c 'run(\"{}\")'",
    "exec a --set=b,{};wait",
)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", ["ref.py", "model.pt"])
def test_files_that_a_command_names_count_by_content(text: str, name: str, tmp_path: Path) -> None:
    command = ("bash", "-c", text.format(file(tmp_path / name)))
    before = level(*command)
    assert level(*command) == before
    file(tmp_path / name, "2\0")
    assert level(*command).key != before.key


def test_a_path_with_a_space_is_one_word(tmp_path: Path) -> None:
    path = file(tmp_path / "in put.dat")
    before = level("python3", path), level("python3", f"--input={path}")
    file(tmp_path / "in put.dat", "2")
    assert level("python3", path).key != before[0].key
    assert level("python3", f"--input={path}").key != before[1].key


def test_files_of_one_name_count_each(tmp_path: Path) -> None:
    paths = [file(tmp_path / place / "m.pt", place) for place in "ab"]
    before = level("python3", *paths)
    assert set(before.files) == {"reference.command/m.pt", "reference.command/m.pt #2"}
    for path in paths:
        kept = Path(path).read_text()
        file(Path(path), "other")
        assert level("python3", *paths).key != before.key
        file(Path(path), kept)
    assert level("python3", *reversed(paths)).key != before.key


def test_a_script_counts_by_name_and_content_wherever_it_is(tmp_path: Path) -> None:
    """As in campaigns from before, to which new labels must fit."""
    one, other = (file(tmp_path / at / "ref.py", "#!/usr/bin/python3\nx = 1\n") for at in "ab")
    found = level("python3", one, "--shift", "1")
    assert found.settings["reference.command"] == ["python3", "ref.py", "--shift", "1"]
    assert found.files == {"reference.command/ref.py": hashlib.sha256(b"x = 1\n").hexdigest()}
    assert level("python3", other, "--shift", "1").key == found.key
    assert level(one).settings["reference.command"] == ["ref.py"]
    assert level(one).files == found.files


def test_a_campaign_may_move_between_folders_of_any_name(tmp_path: Path) -> None:
    """Also with files that the command is yet to write; a shell's text is no path."""
    levels = set()
    for place in ("a", 'it\'s a "b" $(touch x)'):
        script = file(tmp_path / place / "ref.py")
        levels.add(level("python3", script, str(tmp_path / place / "calls.txt")).key)
    assert len(levels) == 1
    text = f"/no/program --basis {tmp_path}/a/DZVP"
    assert level("sh", text).settings["reference.command"] == ["sh", text]
    assert level("python3", "/" + "n" * 300 + " x/" + "n").key


def test_what_is_written_and_what_only_starts_does_not_count(tmp_path: Path) -> None:
    out, log = tmp_path / "result.txt", tmp_path / "ref.log"
    command = ("bash", "-c", f"/bin/bash a 2>> {out} >{out}", f"--log={log}", str(log))
    before = level(*command)
    file(out), file(log)
    assert level(*command) == before
    assert not before.files


def test_large_files_count_by_size_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "MAX_HASHED_BYTES", 8)
    path = file(tmp_path / "m.pt", "start…middle…end")
    keys = {level("python3", path).key}
    for text in ("Start…middle…end", "start…middle…enD", "start…middlle…end"):
        file(Path(path), text)
        keys.add(level("python3", path).key)
    assert len(keys) == 4


def test_without_a_command_nothing_of_it_is_in_the_level() -> None:
    bare = level()
    assert not bare.files
    assert set(bare.settings) == {"electronic_temperature_K"}
    assert level("mpirun", "-n", "1", "python3", "-m", "phasewalk.reference").key == bare.key
