"""The campaign directory: what survives a kill, and what is refused."""

import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.cases import cases
from helpers.fakes import crystal, label
from phasewalk import files
from phasewalk.errors import ParseError, PhasewalkError, StoreError
from phasewalk.store import directory, locking
from phasewalk.store.directory import Store
from phasewalk.store.records import Record

IDENTITY = {"name": "salt", "species": ["Cl", "Na"]}


def record(number: int, inputs: str = "x") -> Record:
    return Record(f"task {number}", "label", 0, inputs, {"n": number, "é": "Å\n"}, 1.5, 1e9 + 0.125)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / 'a "campaign" of mine'


@pytest.fixture
def opened(root: Path) -> Iterator[Store]:
    with closing(directory.open_campaign(root, IDENTITY)) as found:
        yield found


def reopened(root: Path) -> list[Record]:
    with closing(directory.open_campaign(root, IDENTITY)) as found:
        return found.records()


def one_line(caught: pytest.ExceptionInfo[PhasewalkError]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.exit_code == 2
    return text


def test_a_record_is_in_memory_as_it_is_read_again(root: Path, opened: Store) -> None:
    statistics = {"energy_shifts": (-1.5, -2.5), 1: (np.float64(0.5),)}
    opened.append(Record("train", "train", 0, "", {"statistics": statistics}, 0.0, 0.0))
    kept = opened.find("train")
    opened.close()
    assert kept is not None
    assert kept.outputs == directory.read_campaign(root).find("train").outputs  # type: ignore[union-attr]
    assert kept.outputs["statistics"] == {"energy_shifts": [-1.5, -2.5], "1": [0.5]}


def test_what_was_appended_is_there_after_reopening(root: Path, opened: Store) -> None:
    for number in range(3):
        opened.append(record(number))
    assert opened.records() == [record(0), record(1), record(2)]
    opened.close()
    assert reopened(root) == [record(0), record(1), record(2)]


@pytest.mark.parametrize(
    "value", ["lone \udcff", 1e300, 5e-324, 2**80, 0.1 + 0.2, [[[]]] * 3, "é\0"]
)
def test_what_a_record_may_hold_is_read_as_it_was_written(
    root: Path, opened: Store, value: object
) -> None:
    opened.append(Record("task", "label", 0, "x", {"n": value}, 1.5, 1e9))
    opened.close()
    (found,) = reopened(root)
    assert repr(found.outputs["n"]) == repr(value)


def test_a_task_is_done_only_with_the_same_inputs(opened: Store) -> None:
    opened.append(record(1, "old"))
    assert opened.done("task 1", "old") == record(1, "old")
    assert opened.done("task 1", "new") is None
    assert opened.done("task 2", "old") is None


def test_a_task_that_was_done_again_stands_where_it_ended_last(root: Path, opened: Store) -> None:
    for made in (record(1, "old"), record(2), record(1, "new")):
        opened.append(made)
    expected = [record(2), record(1, "new")]
    assert opened.records() == expected
    opened.close()
    assert reopened(root) == expected
    assert len((root / directory.JOURNAL).read_bytes().splitlines()) == 3  # nothing is ever erased


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_an_unfinished_last_line_counts_as_not_done(root: Path, opened: Store, cut: int) -> None:
    for number in range(3):
        opened.append(record(number))
    opened.close()
    journal = root / directory.JOURNAL
    journal.write_bytes(journal.read_bytes()[:-cut])
    assert [r.task for r in directory.read_campaign(root).records()] == ["task 0", "task 1"]
    with closing(directory.open_campaign(root, IDENTITY)) as again:
        assert again.records() == [record(0), record(1)]
        again.append(record(7))
    assert reopened(root) == [record(0), record(1), record(7)]


@pytest.mark.parametrize(
    "line",
    ["garbage", "", "[]", "{}", '{"schema": 1, "task": "x"}', '{"schema": 4, "task": "x"}', "\xff"],
)
def test_a_corrupt_line_in_the_middle_is_named(root: Path, opened: Store, line: str) -> None:
    opened.append(record(0))
    opened.append(record(1))
    opened.close()
    journal = root / directory.JOURNAL
    first, second = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(first + line.encode("latin-1") + b"\n" + second)
    with pytest.raises(ParseError, match=r"journal\.jsonl, line 2: not a journal record") as caught:
        directory.open_campaign(root, IDENTITY)
    one_line(caught)
    assert caught.value.line == 2
    assert not locking.locked(root)


actions = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 5)), st.tuples(st.just("kill"), st.floats(0, 1))
    ),
    max_size=12,
)


@settings(max_examples=cases(40, 500))
@given(actions)
def test_kills_at_any_byte_leave_a_prefix(steps: list[tuple[str, float]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "run"
        opened = directory.open_campaign(root, IDENTITY)
        written: list[Record] = []
        for number, (action, value) in enumerate(steps):
            if action == "append":
                made = record(int(value), inputs=str(number))
                opened.append(made)
                written.append(made)
                continue
            opened.close()
            journal = root / directory.JOURNAL
            if journal.is_file():
                size = journal.stat().st_size
                os.truncate(journal, round(value * size))
                written = written[: journal.read_bytes().count(b"\n")]
            opened = directory.open_campaign(root, IDENTITY)
            last = {made.task: made for made in written}
            assert sorted(opened.records(), key=lambda r: r.task) == sorted(
                last.values(), key=lambda r: r.task
            )
        opened.close()


def test_a_kill_before_the_identity_was_written_is_no_foreign_directory(root: Path) -> None:
    root.mkdir()
    (root / locking.LOCK).touch()
    (root / f".{directory.IDENTITY}.part").write_text('{"sch')
    assert reopened(root) == []


def test_files_are_whole_or_not_there(
    opened: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.write("rounds/000/frames.json", b"old")

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="no space left") as caught:
        opened.write("rounds/000/frames.json", b"new and longer")
    one_line(caught)
    assert (root / "rounds/000/frames.json").read_bytes() == b"old"


def test_a_file_that_somebody_reads_is_replaced_and_never_changed(
    opened: Store, root: Path
) -> None:
    path = opened.write("frames.json", b"old")
    with path.open("rb") as reader:
        opened.write("frames.json", b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert not list(root.glob(".*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_loses_nothing(opened: Store, root: Path) -> None:
    opened.append(record(0))
    journal = root / directory.JOURNAL
    kept = journal.rename(root / "kept")
    journal.symlink_to("/dev/full")
    with pytest.raises(StoreError, match="no space left; free some") as caught:
        opened.append(record(1))
    assert str(journal) in one_line(caught)
    assert opened.records() == [record(0)]
    kept.replace(journal)
    opened.close()
    assert reopened(root) == [record(0)]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_is_not_writable(
    root: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StoreError, match="not writable; choose another --dir") as caught:
        directory.open_campaign(root, IDENTITY)
    assert str(root) in one_line(caught)


def test_a_file_where_the_directory_should_be(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    with pytest.raises(StoreError, match="File exists") as caught:
        directory.open_campaign(path, IDENTITY)
    one_line(caught)


def test_a_foreign_directory_is_left_alone(root: Path) -> None:
    root.mkdir()
    (root / "thesis.tex").write_text("mine")
    with pytest.raises(StoreError, match="not empty and not a campaign") as caught:
        directory.open_campaign(root, IDENTITY)
    one_line(caught)
    assert [path.name for path in root.iterdir()] == ["thesis.tex"]


def test_another_campaign_is_refused_and_not_locked(root: Path, opened: Store) -> None:
    opened.close()
    with pytest.raises(StoreError, match=r"species is \['Cl', 'Na'\] there and \['K'\]"):
        directory.open_campaign(root, {**IDENTITY, "species": ["K"]})
    assert not locking.locked(root)
    assert reopened(root) == []


@pytest.mark.parametrize(
    ("text", "error", "reason"),
    [
        ('{"schema": 1, "name": "salt"}', StoreError, "schema 1, this one reads 4"),
        ('{"name": "salt"}', ParseError, "not a valid campaign identity"),
        ("[]", ParseError, "not a valid"),
        ("", ParseError, "not a valid"),
        ("\xff", ParseError, "not a valid"),
    ],
)
def test_another_schema_or_a_broken_identity(
    root: Path, opened: Store, text: str, error: type[PhasewalkError], reason: str
) -> None:
    opened.close()
    (root / directory.IDENTITY).write_bytes(text.encode("latin-1"))
    for attempt in (
        lambda: directory.open_campaign(root, IDENTITY),
        lambda: directory.read_campaign(root),
    ):
        with pytest.raises(error, match=reason) as caught:
            attempt()
        one_line(caught)


def test_a_directory_that_is_no_campaign_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(StoreError, match="not a campaign directory"):
            directory.read_campaign(path)


def test_two_runs_in_one_directory(root: Path, opened: Store) -> None:
    assert locking.locked(root)
    with pytest.raises(
        StoreError, match=f"in use by another run \\(pid {os.getpid()} on"
    ) as caught:
        directory.open_campaign(root, IDENTITY)
    one_line(caught)
    opened.append(record(0))
    assert directory.read_campaign(root).records() == [record(0)]  # reading is always possible
    opened.close()
    assert not locking.locked(root)
    assert reopened(root) == [record(0)]


TRY = """
import sys
from pathlib import Path
from phasewalk.store import locking
from phasewalk.store import directory as store
try:
    store.open_campaign(Path(sys.argv[1]), {"name": "salt", "species": ["Cl", "Na"]})
except store.StoreError as error:
    sys.exit(str(error))
if len(sys.argv) > 2:
    sys.stdout.write("locked")
    sys.stdout.flush()
    sys.stdin.read()
"""


def test_another_process_is_refused_and_a_killed_one_leaves_no_lock(root: Path) -> None:
    argv = [sys.executable, "-c", TRY, str(root)]
    with subprocess.Popen([*argv, "hold"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.read(6) == b"locked"
        second = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert f"in use by another run (pid {holder.pid} on" in second.stderr
        holder.kill()
    assert subprocess.run(argv, check=False).returncode == 0


def test_labels_are_kept_once_and_never_changed(opened: Store, root: Path) -> None:
    made = label()
    opened.add_label(made)
    path = root / "labels" / f"{made.key}.json"
    before = path.read_bytes()
    opened.add_label(label(energy=1.0))
    assert path.read_bytes() == before
    found = opened.label(made.key)
    assert found is not None
    assert found.energy == made.energy
    assert opened.label("0" * 24) is None


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"{}"])
def test_a_corrupt_label_is_named(opened: Store, root: Path, content: bytes) -> None:
    made = label()
    files.write_file(root / "labels" / f"{made.key}.json", content)
    with pytest.raises(ParseError, match=f"labels/{made.key}.json: not a label"):
        opened.label(made.key)


def test_a_label_whose_frame_was_damaged_is_refused(opened: Store, root: Path) -> None:
    opened.add_label(label())
    path = root / "labels" / f"{label().key}.json"
    content = json.loads(path.read_text())
    content["frame"]["positions_A"][0][0] += 1e-6
    path.write_text(json.dumps(content))
    with pytest.raises(ParseError, match="do not match its sha256"):
        opened.label(label().key)


def test_a_label_under_another_name_is_refused(opened: Store, root: Path) -> None:
    opened.add_label(label())
    (root / "labels" / f"{label().key}.json").rename(root / "labels/0.json")
    with pytest.raises(ParseError, match="does not match the file name"):
        opened.label("0")


def test_what_an_interrupted_run_left_is_set_aside(opened: Store, root: Path) -> None:
    for number in (1, 2):
        place = opened.workplace("rounds/001/train")
        assert place == root / "rounds/001/train"
        place.mkdir()
        (place / "log").write_text(str(number))
    assert opened.workplace("rounds/001/train") == place
    kept = {path.name: (path / "log").read_text() for path in (root / "rounds/001").iterdir()}
    assert kept == {"train.interrupted-1": "1", "train.interrupted-2": "2"}


def test_hashes_do_not_depend_on_the_order_of_keys() -> None:
    assert files.hash_of({"a": 1, "b": 2}) == files.hash_of({"b": 2, "a": 1})
    assert files.hash_of("train", ["x"]) != files.hash_of("train", ["y"])


def test_the_identity_on_disk_can_be_read_by_people(opened: Store, root: Path) -> None:
    assert json.loads((root / directory.IDENTITY).read_text()) == {"schema": 4, **IDENTITY}
    assert directory.read_identity(root)["name"] == "salt"


def test_the_label_store_takes_what_a_segment_gives(opened: Store) -> None:
    atoms = crystal()
    atoms.rattle(0.05, seed=3)
    opened.add_label(label(atoms, origin={"walker": "salt-0", "step": 200}))
    found = opened.label(label(atoms).key)
    assert found is not None
    assert found.origin == {"walker": "salt-0", "step": 200}


def test_the_network_may_change_until_one_was_trained(root: Path) -> None:
    """A misspelt key of it is found by the first training, when all labels are paid."""
    first, second = ({**IDENTITY, "model": name} for name in ("tiny", "small"))
    with closing(directory.open_campaign(root, first)) as opened:
        opened.append(Record("bootstrap", "bootstrap", 0, "", {}, 1.0, 1.0))
        opened.append(Record("compile torchscript 1", "compile", 0, "", {}, 1.0, 1.0))
    with closing(directory.open_campaign(root, second)) as opened:
        assert json.loads((root / directory.IDENTITY).read_text())["model"] == "small"
        opened.append(Record("train generation 0", "train", 0, "", {}, 1.0, 1.0))
    with pytest.raises(StoreError, match="model is 'small' there and 'tiny' in"):
        directory.open_campaign(root, first)
