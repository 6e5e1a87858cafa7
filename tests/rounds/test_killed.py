"""A segment that is ended from outside is walked again, a few times."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from helpers.fakes import FakeLauncher, Watcher
from phasewalk.campaign.tasks import Outputs, Task, Work
from phasewalk.errors import EngineFailed, Killed
from phasewalk.jobs import Finished, Job
from phasewalk.rounds import explore
from phasewalk.rounds.launches import Walk
from phasewalk.store import directory as store
from phasewalk.store.directory import Store


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Store]:
    with closing(store.open_campaign(tmp_path / "run", {"name": "x"})) as found:
        yield found


def read(finished: Finished) -> Outputs:
    if finished.returncode == 9:
        raise Killed(f"a rank was killed (all files are in {finished.directory})")
    finished.require_success()
    return {"walked": True}


TASK = Task(
    name="segment 1",
    stage="segment",
    round=1,
    inputs="1",
    place="rounds/001/segment",
    job=lambda directory: Job("segment", ("lmp",), directory),
    read=read,
)


def walked(opened: Store, monkeypatch: pytest.MonkeyPatch, *codes: int) -> tuple[Outputs, Watcher]:
    """What `codes` in a row come to."""
    monkeypatch.setattr(explore, "_watch_segment", lambda *given: lambda event: None)
    nothing, ends = cast(Any, None), iter(codes)
    watcher = Watcher()
    work = Work(nothing, opened, FakeLauncher(lambda job: next(ends)), nothing, watcher)
    return explore._walk(work, Walk(TASK, nothing, nothing, (nothing,), nothing)), watcher


def test_it_is_walked_again(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, watcher = walked(opened, monkeypatch, 9, 9, 0)
    assert outputs == {"walked": True}
    assert len(watcher.lines) == 2
    assert "not a breakdown of a walker: the segment is repeated" in watcher.lines[0]
    kept = opened.root / "rounds/001/segment.failed-2"
    assert str(kept) in watcher.lines[1]
    assert kept.is_dir()
    assert [record.task for record in opened.records()] == ["segment 1"]


def test_three_times_in_a_row_is_an_error(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Killed, match="3 times in a row and is not a breakdown of a walker"):
        walked(opened, monkeypatch, 9, 9, 9)
    assert opened.records() == []
    outputs, _ = walked(opened, monkeypatch, 0)  # the same command again
    assert outputs == {"walked": True}


def test_other_failures_are_not_tried_again(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineFailed, match="ended with code 1"):
        walked(opened, monkeypatch, 1, 0)
