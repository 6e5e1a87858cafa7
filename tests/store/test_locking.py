"""The lock of a campaign directory: on one machine by flock, between hosts by its age."""

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from helpers.fakes import FakeLauncher, Watcher, label
from phasewalk.campaign.tasks import Task, Work
from phasewalk.errors import StoreError
from phasewalk.jobs import Job
from phasewalk.store import directory, locking
from phasewalk.store.directory import Store
from phasewalk.store.locking import Lock, locked, take
from phasewalk.store.records import Record

ELSEWHERE = {"who": "pid 7 on elsewhere", "machine": "m", "id": "i", "since": "long ago"}
IDENTITY = {"name": "salt"}


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Lock]:
    lock = take(tmp_path)
    yield lock
    lock.release()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Store]:
    with closing(directory.open_campaign(tmp_path / "run", IDENTITY)) as found:
        yield found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets what `_clock` shows."""
    shown = [1000.0]
    monkeypatch.setattr(locking, "_clock", lambda: shown[0])
    return lambda seconds: shown.__setitem__(0, seconds)


def leave_lock(root: Path, age: float, text: str | None = None, **changed: str) -> Path:
    """A lock as another host's run left it so many seconds ago."""
    path = root / locking.LOCK
    path.write_text(json.dumps({**ELSEWHERE, **changed}) if text is None else text)
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))
    return path


def said(lock: Lock) -> str:
    lock.release()
    return lock.took_over


def test_the_file_says_who_works_here(held: Lock) -> None:
    data = json.loads(held.path.read_text())
    assert data["who"] == f"pid {os.getpid()} on {socket.gethostname()}"
    assert len(data["id"]) == 32
    assert time.strptime(data["since"], "%Y-%m-%dT%H:%M:%SZ")
    assert held.took_over == ""
    assert locked(held.path.parent)


def test_each_run_has_an_id_of_its_own(tmp_path: Path) -> None:
    ids = set()
    for _ in range(3):
        lock = take(tmp_path)
        ids.add(lock.owner.id)
        lock.release()
    assert len(ids) == 3


def test_a_clean_end_lets_any_host_start_at_once(tmp_path: Path) -> None:
    lock = take(tmp_path)
    lock.release()
    assert lock.path.read_bytes() == b""
    assert not locked(tmp_path)
    assert said(take(tmp_path)) == ""


def test_a_directory_without_a_lock_is_free(tmp_path: Path) -> None:
    assert not locked(tmp_path)
    assert not locked(tmp_path / "none")


def test_a_second_run_of_this_machine_is_refused(held: Lock) -> None:
    with pytest.raises(StoreError, match=r"in use by another run \(pid \d+ on [^)]+\); wait until"):
        take(held.path.parent)
    held.renew()


@pytest.mark.parametrize("age", [0, 30, 3600, -3600])
def test_a_dead_run_of_this_machine_is_followed_silently(tmp_path: Path, age: float) -> None:
    """The kernel has given up its flock: it is dead, however short the time."""
    leave_lock(tmp_path, age, machine=locking._machine())
    assert not locked(tmp_path)
    assert said(take(tmp_path)) == ""


@given(st.floats(0, 59) | st.floats(61, 1e8) | st.floats(-1e8, -61) | st.floats(-59, 0))
@example(0.0)
@example(61.0)
def test_another_host_counts_as_long_as_it_shows_signs_of_life(
    tmp_path_factory: pytest.TempPathFactory, age: float
) -> None:
    root = tmp_path_factory.mktemp("run")
    leave_lock(root, age)
    stale = abs(age) > locking.STALE_S
    assert locked(root) != stale
    if stale:
        # One whose time lies ahead was set before the clock was set back.
        seconds = f"{abs(age):.0f}"
        assert said(take(root)) in {
            f"the lock of pid 7 on elsewhere is stale (last renewed {s} s ago): taken over"
            for s in (seconds, f"{abs(age + 0.5):.0f}", f"{abs(age + 1):.0f}")
        }
        return
    before = (root / locking.LOCK).read_bytes()
    with pytest.raises(StoreError, match=r"in use by another run \(pid 7 on elsewhere; ") as caught:
        take(root)
    assert (root / locking.LOCK).read_bytes() == before
    assert "\n" not in str(caught.value)


def test_the_refusal_says_how_old_and_when_to_try_again(tmp_path: Path) -> None:
    leave_lock(tmp_path, 19.7)
    with pytest.raises(StoreError) as caught:
        take(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: in use by another run (pid 7 on elsewhere; lock renewed 20 s ago); "
        "wait until it ends, or stop it; if it was killed, try again in 40 s"
    )


@pytest.mark.parametrize("off", [-1e9, -70, 70, 1e9])
def test_this_hosts_clock_does_not_matter(
    tmp_path: Path, off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + off)
    leave_lock(tmp_path, 19.7)
    with pytest.raises(StoreError, match="lock renewed 20 s ago"):
        take(tmp_path)
    leave_lock(tmp_path, 89.7)
    assert "(last renewed 90 s ago)" in said(take(tmp_path))


@pytest.mark.parametrize(
    "text", ["", "\n", "{", '{"who": "pid 7', "[]", "pid 7 on elsewhere", "\0"]
)
def test_half_a_lock_is_nobodys(tmp_path: Path, text: str) -> None:
    leave_lock(tmp_path, 0, text)
    assert not locked(tmp_path)
    assert said(take(tmp_path)) == ""


def test_signs_of_life_are_given_at_most_each_ten_seconds(
    tmp_path: Path, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Path] = []
    lock = take(tmp_path)
    monkeypatch.setattr(os, "utime", lambda path: given.append(path))
    for second in range(35):
        for part in (0.0, 0.5):
            clock(1000 + second + part)
            lock.beat()
    assert given == [lock.path] * 3
    lock.release()


def test_a_sign_of_life_is_seen_by_another_host(
    tmp_path: Path, clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = take(tmp_path)
    os.utime(lock.path, (0, 0))
    monkeypatch.setattr(locking, "_machine", lambda: "another")
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)  # does not reach the other host
    assert not locked(tmp_path)
    clock(1010)
    lock.beat()
    assert locked(tmp_path)
    with pytest.raises(StoreError, match="lock renewed 0 s ago"):
        take(tmp_path)
    lock.release()
    assert said(take(tmp_path)) == ""


def test_of_two_hosts_that_start_together_one_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    first, second = take(tmp_path), take(tmp_path)
    second.renew()
    with pytest.raises(StoreError, match="another run has taken over"):
        first.renew()
    first.release()
    second.renew()  # the first has not emptied the second's lock
    second.release()


WRITES: dict[str, Callable[[Store], object]] = {
    "append": lambda s: s.append(Record("a", "label", 0, "x", {}, 1.0, 1e9)),
    "write": lambda s: s.write("new/file", b"x"),
    "add_label": lambda s: s.add_label(label()),
    "workplace": lambda s: s.workplace("rounds/001/train"),
    "move": lambda s: s.move(directory.IDENTITY, "moved"),
    "replace": lambda s: s.replace([]),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_nothing_is_written_once_another_run_took_over(
    opened: Store, write: Callable[[Store], object]
) -> None:
    root = opened.root
    leave_lock(root, 0)
    before = sorted(root.rglob("*"))
    with pytest.raises(StoreError) as caught:
        write(opened)
    assert str(caught.value) == (
        f"{root}: another run has taken over (pid 7 on elsewhere), because this one did not "
        "renew its lock for 60 s; this run has stopped"
    )
    assert caught.value.exit_code == 2
    opened.close()
    assert sorted(root.rglob("*")) == before
    assert json.loads((root / locking.LOCK).read_text()) == ELSEWHERE


@pytest.mark.parametrize("how", [Path.unlink, lambda path: path.write_text("")])
def test_a_lock_that_somebody_removed(opened: Store, how: Callable[[Path], object]) -> None:
    how(opened.root / locking.LOCK)
    with pytest.raises(StoreError, match="emptied or removed during this run"):
        opened.write("new", b"x")


def test_a_removed_lock_does_not_let_two_runs_work(opened: Store) -> None:
    (opened.root / locking.LOCK).unlink()
    with closing(directory.open_campaign(opened.root, IDENTITY)) as second:
        second.write("new", b"second")
        with pytest.raises(StoreError, match="another run has taken over"):
            opened.write("new", b"first")
        second.write("newer", b"second")
    assert (opened.root / "new").read_bytes() == b"second"


def test_a_store_for_reading_has_no_lock_to_renew(opened: Store) -> None:
    reader = directory.read_campaign(opened.root)
    reader.beat()
    reader.close()
    opened.beat()
    assert (reader.took_over, opened.took_over) == ("", "")


def test_the_store_says_whose_lock_it_took_over(tmp_path: Path) -> None:
    leave_lock(tmp_path, 90)
    with closing(directory.open_campaign(tmp_path, IDENTITY)) as found:
        assert found.took_over.startswith("the lock of pid 7 on elsewhere is stale")


def test_a_run_at_work_beats_and_stops_when_it_was_taken_over(
    opened: Store, clock: Callable[[float], None]
) -> None:
    shown = [1000.0]
    signs = []

    def play(job: Job) -> int:
        shown[0] += 11
        clock(shown[0])
        signs.append((opened.root / locking.LOCK).stat().st_mtime_ns)
        if job.name == "3":
            leave_lock(opened.root, 0)
        return 0

    opened._lock = cast(Lock, opened._lock)
    opened._lock.renewed = shown[0]
    launcher = FakeLauncher(play)
    nothing = cast(Any, None)
    tasks = [
        Task(name, "label", 1, name, name, lambda d, n=name: Job(n, ("x",), d), lambda _: {})
        for name in "12345"
    ]
    with pytest.raises(StoreError, match="another run has taken over"):
        Work(nothing, opened, launcher, nothing, Watcher()).do(tasks)
    assert [job.name for job in launcher.jobs] == ["1", "2", "3"]
    assert [record.task for record in opened.records()] == ["1", "2"]
    assert signs == sorted(set(signs))  # renewed on the way
    assert len(signs) == 3


def test_a_disk_that_fails_is_no_failure_of_the_task(opened: Store) -> None:
    """Else a label that could not be written would count as one that the reference refused."""

    def full(_finished: object) -> dict[str, Any]:
        raise StoreError("labels/x.json: no space left")

    nothing = cast(Any, None)
    task = Task(
        "a", "label", 1, "x", "rounds/001/a", lambda d: Job("a", ("x",), d), full, may_fail=True
    )
    with pytest.raises(StoreError, match="no space left"):
        Work(nothing, opened, FakeLauncher(), nothing, Watcher()).do([task])
    assert opened.records() == []
    assert (opened.root / "rounds/001/a").is_dir()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
@pytest.mark.parametrize("call", ["open", "pwrite"])
def test_a_lock_that_cannot_be_written(
    tmp_path: Path, call: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(StoreError, match=r"lock: (not writable|no space left)"):
            take(tmp_path)
    assert not locked(tmp_path)
    assert said(take(tmp_path)) == ""


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreError, match="does not support locks"):
        take(tmp_path)


def test_status_in_a_folder_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file system's clock cannot be asked: who stands in the lock counts."""

    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    leave_lock(tmp_path, 3600)
    monkeypatch.setattr(locking.tempfile, "TemporaryFile", refuse)
    assert locked(tmp_path)


def test_a_machine_without_a_boot_id_goes_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert locking._machine() == socket.gethostname()
