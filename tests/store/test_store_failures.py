"""The store on a disk that fails or dies at any byte: what was done stays, and nothing is half."""

import errno
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers.cases import cases
from helpers.disk import Disk, Killed
from helpers.fakes import crystal, label
from phasewalk.errors import ParseError, StoreError
from phasewalk.labels import label as labels
from phasewalk.store import directory
from phasewalk.store.directory import Store
from phasewalk.store.records import FILES as LEFT
from phasewalk.store.records import Record

IDENTITY = {"name": "salt"}
LABELS = [label(crystal(a=a)) for a in (5.6, 5.7)]
TEXTS = [labels.to_json(made) for made in LABELS]
FILES = ("campaign.yaml", "rounds/001/walkers.json")
PLACES = ("rounds/001/train", "rounds/001/label/x")


def record(number: int, size: int = 0, at: float = 1e9) -> Record:
    return Record(f"task {number}", "label", 0, f"{size}", {"é": "Å\n", "x": "x" * size}, 1.5, at)


def told(records: list[Record]) -> list[Record]:
    """Without the hashes of files that the store adds."""
    return [
        replace(one, outputs={k: v for k, v in one.outputs.items() if k != LEFT}) for one in records
    ]


def said(error: StoreError | ParseError, where: Path | str) -> None:
    """One line that names the place."""
    assert str(error).startswith(str(where))
    assert "\n" not in str(error)
    assert error.exit_code == 2


class Expected:
    """What must be in a campaign, and what may be, since the call that wrote it failed."""

    def __init__(self, root: Path, disk: Disk) -> None:
        self.root, self.disk = root, disk
        self.opened = directory.open_campaign(root, IDENTITY)
        self.records: dict[str, Record] = {}
        self.maybe: list[Record] = []
        self.files: dict[str, set[bytes | None]] = {name: {None} for name in FILES}
        self.labels: dict[int, bool] = {}
        self.logs: list[str] = []

    def append(self, number: int, size: int) -> None:
        made = record(number, size)
        self.maybe.append(made)
        self.opened.append(made)
        self.maybe.clear()
        self.records.pop(made.task, None)
        self.records[made.task] = made
        assert told(self.opened.records()) == list(self.records.values())

    def write(self, number: int, size: int) -> None:
        name = FILES[number % len(FILES)]
        content = os.urandom(1) * size
        self.files[name].add(content)
        self.opened.write(name, content)
        self.files[name] = {content}

    def label(self, number: int, _size: int) -> None:
        number %= len(LABELS)
        self.labels.setdefault(number, False)
        self.opened.add_label(LABELS[number])
        self.labels[number] = True

    def work(self, number: int, size: int) -> None:
        place = self.opened.workplace(PLACES[number % len(PLACES)])
        assert not place.exists()
        self.disk.mend()  # what follows is the program's
        place.mkdir()
        text = f"{len(self.logs)} {size}"
        (place / "log").write_text(text)
        self.logs.append(text)

    def reopen(self, _number: int, _size: int) -> None:
        self.opened.close()
        self.opened = directory.open_campaign(self.root, IDENTITY)
        self.check()

    def kill(self) -> None:
        if self.opened._lock is not None:
            os.close(self.opened._lock.handle)  # by the kernel
        self.opened = directory.open_campaign(self.root, IDENTITY)
        self.check()

    def check(self) -> None:
        """What was reported as done is there, unchanged and once; the rest is whole or absent."""
        found = told(self.opened.records())
        allowed = [list(self.records.values())]
        for made in self.maybe:
            others = [r for r in self.records.values() if r.task != made.task]
            allowed.append([*others, made])
        assert found in allowed
        assert told(directory.read_campaign(self.root).records()) == found
        self.records = {made.task: made for made in found}
        self.maybe.clear()
        for name, contents in self.files.items():
            path = self.root / name
            content = path.read_bytes() if path.exists() else None
            assert content in contents
            self.files[name] = {content}
        for number, certain in list(self.labels.items()):
            kept = self.opened.label(LABELS[number].key)
            assert kept is not None or not certain
            assert kept is None or labels.to_json(kept) == TEXTS[number]
            self.labels[number] = kept is not None
        logs = [path.read_text() for path in self.root.glob("rounds/**/log")]
        assert sorted(logs) == sorted(self.logs)


ACTIONS: list[Callable[[Expected, int, int], None]] = [
    Expected.append,
    Expected.append,
    Expected.write,
    Expected.label,
    Expected.work,
    Expected.reopen,
]
faults = st.tuples(
    st.integers(0, 12) | st.integers(0, 300) | st.integers(0, 2500),
    st.sampled_from([None, None, errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO]),
    st.integers(0, 2),
)
steps = st.lists(
    st.tuples(
        st.sampled_from(ACTIONS),
        st.integers(0, 3),
        st.integers(0, 40),
        st.none() | faults,
    ),
    max_size=9,
)


def play(case: list[tuple[Any, int, int, tuple[int, int | None, int] | None]]) -> None:
    disk = Disk()
    with tempfile.TemporaryDirectory() as folder, disk.under():
        expected = Expected(Path(folder) / "run", disk)
        expected.append(0, 0)  # as every campaign does, before its first label
        for action, number, size, fault in case:
            if fault is not None:
                disk.arm(*fault)
            try:
                action(expected, number, size)
            except Killed:
                disk.mend()
                expected.kill()
            except StoreError as error:
                said(error, expected.root)
                assert fault is not None
                assert fault[1] is not None
            disk.mend()
            if expected.opened._lock is None:  # the reopening failed
                expected.kill()
        expected.reopen(0, 0)
        expected.opened.close()


@settings(max_examples=cases(300, 5000))
@given(steps)
def test_any_story_on_any_bad_disk(
    case: list[tuple[Any, int, int, tuple[int, int | None, int] | None]],
) -> None:
    play(case)


STORY = [Expected.append, Expected.write, Expected.append, Expected.reopen, Expected.append]


@pytest.mark.fuzz
@pytest.mark.parametrize(("error", "stride"), [(None, cases(4, 1)), (errno.ENOSPC, cases(9, 1))])
def test_a_fault_at_every_byte_of_each_step(error: int | None, stride: int) -> None:
    """Each step writes less than 230 bytes; every one of them in `make test-long`."""
    for step in range(len(STORY)):
        for budget in range(0, 231, stride):
            fault = (budget, error, 0)
            play([(a, n, 3, fault if n == step else None) for n, a in enumerate(STORY)])


def test_a_record_after_a_full_disk_is_not_glued_to_half_a_line(tmp_path: Path) -> None:
    root, disk = tmp_path / "run", Disk()
    with closing(directory.open_campaign(root, IDENTITY)) as opened:
        opened.append(record(0))
        with disk.under():
            for budget in (1, 20, 100):
                disk.arm(budget, errno.ENOSPC)
                with pytest.raises(StoreError, match=r"journal\.jsonl: no space left"):
                    opened.append(record(1))
                disk.mend()
                assert opened.records() == [record(0)]
                assert directory.read_campaign(root).records() == [record(0)]
            opened.append(record(2))
        assert (root / directory.JOURNAL).read_bytes().count(b"\n") == 2
    assert directory.read_campaign(root).records() == [record(0), record(2)]


def test_every_flipped_bit_of_the_journal_is_named(tmp_path: Path) -> None:
    with closing(directory.open_campaign(tmp_path, IDENTITY)) as opened:
        made = [record(number) for number in range(3)]
        for one in made:
            opened.append(one)
    journal = tmp_path / directory.JOURNAL
    whole = journal.read_bytes()
    silent = []
    for place in range(len(whole) - 1):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            journal.write_bytes(damaged)
            try:
                assert directory.read_campaign(tmp_path).records() == made
                silent.append(bytes([whole[place], damaged[place]]))
            except ParseError as error:
                line = whole[:place].count(b"\n") + 1
                said(error, f"{journal}, line {line}: not a journal record")
    # What stands for the same: \u00C5 is \u00c5.
    assert {pair.lower() for pair in silent} <= {b"cc", b"ee"}


@settings(max_examples=cases(100, 1000))
@given(st.binary(max_size=12), st.floats(0, 1))
@example(b"\n", 0.5)
def test_bytes_in_the_middle_of_the_journal_are_named(noise: bytes, where: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with closing(directory.open_campaign(root, IDENTITY)) as opened:
            opened.append(record(0))
            opened.append(record(1))
        journal = root / directory.JOURNAL
        whole = journal.read_bytes()
        first = whole.index(b"\n") + 1
        place = round(where * (first - 1))
        damaged = whole[:place] + noise + whole[place + len(noise) :]
        journal.write_bytes(damaged)
        try:
            with closing(directory.open_campaign(root, IDENTITY)) as opened:
                assert opened.records() == [record(0), record(1)]
        except ParseError as error:
            said(error, f"{journal}, line ")
        assert journal.read_bytes() == damaged  # evidence


def test_a_label_cut_off_at_any_byte_is_named(tmp_path: Path) -> None:
    with closing(directory.open_campaign(tmp_path, IDENTITY)) as opened:
        opened.add_label(LABELS[0])
        path = tmp_path / f"labels/{LABELS[0].key}.json"
        whole = path.read_bytes()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(ParseError) as caught:
                opened.label(LABELS[0].key)
            assert str(caught.value).startswith(f"{path}: not a label")


def every_way_to_write(opened: Store) -> list[Callable[[], object]]:
    return [
        lambda: opened.append(record(1)),
        lambda: opened.write("new/file", b"x"),
        lambda: opened.add_label(LABELS[0]),
        lambda: opened.workplace("rounds/001/segment"),
        lambda: opened.move("campaign.yaml", "elsewhere/campaign.yaml"),
        lambda: opened.replace([]),
        lambda: directory.open_campaign(opened.root.with_name("other"), IDENTITY),
    ]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_folder_that_has_become_read_only(tmp_path: Path, number: int) -> None:
    disk = Disk()
    with closing(directory.open_campaign(tmp_path / "run", IDENTITY)) as opened:
        opened.append(record(0))
        opened.write("campaign.yaml", b"x")
        with disk.under():
            for write in every_way_to_write(opened):
                disk.arm(0, number, again=100)
                with pytest.raises(StoreError, match="not writable; choose another --dir"):
                    write()
                disk.mend()
        assert opened.records() == [record(0)]
        assert not (tmp_path / "run/labels" / f"{LABELS[0].key}.json").exists()
    with closing(directory.open_campaign(tmp_path / "run", IDENTITY)) as opened:
        assert opened.records() == [record(0)]


@settings(max_examples=cases(50, 500))
@given(st.lists(st.floats(-1e10, 1e10), max_size=6))
def test_a_clock_that_jumps_does_not_matter(times: list[float]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        made = []
        opened = directory.open_campaign(Path(folder), IDENTITY)
        for number, now in enumerate(times):
            patch.setattr(time, "time", lambda now=now: now)
            made.append(record(number, at=directory.now()))
            opened.append(made[-1])
            opened.beat()
            assert [one.time for one in made] == times[: number + 1]
        opened.close()
        with closing(directory.open_campaign(Path(folder), IDENTITY)) as opened:
            assert opened.records() == made


@pytest.mark.parametrize("gone", range(4))
def test_a_line_that_is_gone_from_the_journal_is_missed(tmp_path: Path, gone: int) -> None:
    """All but the last, which a kill may have cut off: its task is done again."""
    root = tmp_path / "run"
    opened = directory.open_campaign(root, IDENTITY)
    for number in range(4):
        opened.append(record(number, 5))
    opened.close()
    journal = root / directory.JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
    if gone == 3:
        assert len(directory.read_campaign(root).records()) == 3
        return
    with pytest.raises(ParseError, match="a line before it is missing") as caught:
        directory.read_campaign(root)
    assert caught.value.line == gone + 1


@pytest.mark.parametrize("how", [lambda path: path.unlink(), lambda path: path.write_text("")])
def test_a_journal_that_is_gone_is_no_new_beginning(
    tmp_path: Path, how: Callable[[Path], object]
) -> None:
    root = tmp_path / "run"
    opened = directory.open_campaign(root, IDENTITY)
    opened.append(record(0, 5))
    opened.add_label(LABELS[0])
    opened.close()
    how(root / directory.JOURNAL)
    with pytest.raises(StoreError, match="missing or empty, but labels exist"):
        directory.open_campaign(root, IDENTITY)
