"""Tasks: what is done is not done again, and what failed is kept as evidence."""

import dataclasses
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from helpers.fakes import FakeLauncher, Watcher
from phasewalk.campaign.tasks import Counter, Outputs, Task, Work
from phasewalk.commands import signals
from phasewalk.engines.local import LocalLauncher
from phasewalk.errors import EngineFailed, InputError
from phasewalk.jobs import Finished, Job, Launcher, Started
from phasewalk.store import directory as store
from phasewalk.store.directory import Store
from phasewalk.store.records import FAILED, KIND, REFUSED


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Store]:
    with closing(store.open_campaign(tmp_path / "run", {"name": "x"})) as found:
        yield found


def work(opened: Store, launcher: Launcher) -> Work:
    nothing = cast(Any, None)  # tasks need no campaign and no engines of their own
    return Work(nothing, opened, launcher, nothing, Watcher())


def read(finished: Finished) -> Outputs:
    finished.require_success()
    return {"answer": (finished.directory / "out").read_text()}


def task(name: str = "a", inputs: str = "1", **options: Any) -> Task:
    return Task(
        name=name,
        stage="label",
        round=2,
        inputs=inputs,
        place=f"rounds/002/{name}",
        job=lambda directory: Job(name, ("program",), directory, inputs={"in": inputs.encode()}),
        read=options.pop("read", read),
        **options,
    )


def play(job: Job) -> int:
    (job.directory / "out").write_text(f"{job.name}{job.inputs['in'].decode()}")
    return 0


def fail(job: Job) -> int:
    (job.directory / "stderr.txt").write_text("no convergence\n")
    return 1


def test_outputs_come_in_the_order_of_the_tasks(opened: Store) -> None:
    launcher = FakeLauncher(play)
    found = work(opened, launcher).do([task("b"), task("a")])
    assert found == [{"answer": "b1"}, {"answer": "a1"}]
    (first, second) = opened.records()
    assert (first.task, first.stage, first.round, first.inputs) == ("b", "label", 2, "1")
    assert first.seconds == 0.5
    assert second.outputs == {"answer": "a1"}


def test_what_is_done_is_not_done_again(opened: Store) -> None:
    launcher = FakeLauncher(play)
    work(opened, launcher).do([task("a")])
    assert work(opened, launcher).do([task("a"), task("b")]) == [{"answer": "a1"}, {"answer": "b1"}]
    assert [job.name for job in launcher.jobs] == ["a", "b"]


def test_other_inputs_are_another_task(opened: Store, tmp_path: Path) -> None:
    launcher = FakeLauncher(play)
    work(opened, launcher).do([task("a", "1")])
    assert work(opened, launcher).do([task("a", "2")]) == [{"answer": "a2"}]
    assert (tmp_path / "run/rounds/002/a.interrupted-1/out").read_text() == "a1"


def test_nothing_to_do_starts_nothing(opened: Store) -> None:
    launcher = FakeLauncher(play)
    assert work(opened, launcher).do([]) == []
    assert launcher.jobs == []


def test_a_record_is_there_the_moment_its_job_is_done(opened: Store) -> None:
    seen: dict[str, int] = {}

    def watch(event: object) -> None:
        if isinstance(event, Started):
            seen[event.job.name] = len(opened.records())

    work(opened, FakeLauncher(play)).do([task("a"), task("b"), task("c")], watch)
    assert seen == {"a": 0, "b": 1, "c": 2}


def test_what_an_interrupted_run_left_is_set_aside(opened: Store, tmp_path: Path) -> None:
    left = tmp_path / "run/rounds/002/a"
    left.mkdir(parents=True)
    (left / "half").touch()
    work(opened, FakeLauncher(play)).do([task("a")])
    assert not (left / "half").exists()
    assert (left.with_name("a.interrupted-1") / "half").exists()


def test_a_finished_but_unrecorded_run_is_adopted(opened: Store, tmp_path: Path) -> None:
    left = tmp_path / "run/rounds/002/a"
    left.mkdir(parents=True)
    (left / "out").write_text("mine")

    def adopt(directory: Path) -> Outputs | None:
        path = directory / "out"
        return {"answer": path.read_text()} if path.is_file() else None

    launcher = FakeLauncher(play)
    found = work(opened, launcher).do([task("a", adopt=adopt), task("b", adopt=adopt)])
    assert found == [{"answer": "mine"}, {"answer": "b1"}]
    assert [job.name for job in launcher.jobs] == ["b"]
    assert [record.task for record in opened.records()] == ["a", "b"]


def test_what_is_adopted_costs_what_its_own_job_took(opened: Store) -> None:
    """Not what another job took that ran in the same directory."""

    def adopt(directory: Path) -> Outputs:
        return {"answer": "kept"}

    for name in ("a", "b"):
        left_by_a_kill(opened, task(name))
    (opened.root / "rounds/002/b/task.json").write_text("{}")
    work(opened, FakeLauncher(play)).do([task(name, adopt=adopt) for name in "abc"])
    assert [(record.task, record.seconds, record.cores) for record in opened.records()] == [
        ("a", 0.5, 1), ("b", 0.0, 0), ("c", 0.0, 0),
    ]  # fmt: skip


def left_by_a_kill(opened: Store, made: Task) -> Path:
    """What a run leaves whose driver dies after the job has ended, and before its record."""

    def killed(finished: Finished) -> Outputs:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(opened, FakeLauncher(play)).do([dataclasses.replace(made, read=killed)])
    assert opened.records() == []
    return opened.root / made.place


def test_a_job_that_has_ended_is_not_started_again_after_a_kill(opened: Store) -> None:
    left_by_a_kill(opened, task("a"))
    launcher = FakeLauncher(play)
    assert work(opened, launcher).do([task("a")]) == [{"answer": "a1"}]
    assert launcher.jobs == []
    (record,) = opened.records()
    assert (record.task, record.seconds, record.cores) == ("a", 0.5, 1)


@pytest.mark.parametrize("what", ["other inputs", "no record of the end", "not believed"])
def test_what_is_not_the_same_job_is_done_again(opened: Store, what: str) -> None:
    made = task("a")
    place = left_by_a_kill(opened, made)
    if what == "other inputs":
        made = task("a", inputs="2")
    elif what == "no record of the end":
        (place / "finished.json").unlink()
    else:
        (place / "out").unlink()
    launcher = FakeLauncher(play)
    work(opened, launcher).do([made])
    assert [job.name for job in launcher.jobs] == ["a"]
    assert place.with_name("a.interrupted-1").is_dir()


def test_a_failure_ends_the_campaign_and_keeps_its_directory(opened: Store, tmp_path: Path) -> None:
    with pytest.raises(EngineFailed) as caught:
        work(opened, FakeLauncher(fail)).do([task("a")])
    kept = tmp_path / "run/rounds/002/a.failed-1"
    assert str(caught.value) == f"a ended with code 1: no convergence (all files are in {kept})"
    assert (kept / "in").read_text() == "1"
    assert opened.records() == []
    with pytest.raises(EngineFailed, match="failed-2"):
        work(opened, FakeLauncher(fail)).do([task("a")])
    assert work(opened, FakeLauncher(play)).do([task("a")]) == [{"answer": "a1"}]


def test_a_failure_that_may_be_is_an_output_and_is_not_tried_again(
    opened: Store, tmp_path: Path
) -> None:
    launcher = FakeLauncher(lambda job: fail(job) if job.name == "a" else play(job))
    tasks = [task("a", may_fail=True), task("b", may_fail=True)]
    failed, fine = work(opened, launcher).do(tasks)
    assert "no convergence" in failed[FAILED]
    assert str(tmp_path / "run/rounds/002/a.failed-1") in failed[FAILED]
    assert fine == {"answer": "b1"}
    assert work(opened, launcher).do(tasks) == [failed, fine]
    assert len(launcher.jobs) == 2


def test_a_result_that_is_not_believed_is_a_failure_too(opened: Store, tmp_path: Path) -> None:
    def doubt(finished: Finished) -> Outputs:
        raise InputError("the largest force is too large")

    found = work(opened, FakeLauncher(play)).do([task("a", read=doubt, may_fail=True)])
    assert found == [{FAILED: "the largest force is too large", KIND: REFUSED}]
    assert (tmp_path / "run/rounds/002/a.failed-1").is_dir()


def test_a_stop_is_not_the_failure_of_a_task(
    opened: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM and Ctrl-C may come at any moment, also while a result is read."""
    monkeypatch.setattr("signal.signal", lambda number, how: None)

    def interrupted(finished: Finished) -> Outputs:
        signals.stop(15, None)
        return {}

    with pytest.raises(KeyboardInterrupt):
        work(opened, FakeLauncher(play)).do([task("a", read=interrupted, may_fail=True)])
    assert opened.records() == []
    assert (tmp_path / "run/rounds/002/a").is_dir()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_is_done_before_a_stop_stays_done(opened: Store, error: type[BaseException]) -> None:
    def stop(job: Job) -> int:
        if job.name == "b":
            raise error
        return play(job)

    with pytest.raises(error):
        work(opened, FakeLauncher(stop)).do([task("a"), task("b"), task("c")])
    assert [record.task for record in opened.records()] == ["a"]


def test_a_failure_stops_the_jobs_beside_it(opened: Store, tmp_path: Path) -> None:
    """Also while somebody still holds the exception, and with it the frame that held the events."""
    quick, slow = "import sys, time; time.sleep(0.5); sys.exit(1)", "import time; time.sleep(60)"

    def program(name: str, text: str) -> Task:
        argv = (sys.executable, "-c", text)
        return dataclasses.replace(task(name), job=lambda directory: Job(name, argv, directory))

    with pytest.raises(EngineFailed, match="a ended with code 1") as caught:
        work(opened, LocalLauncher(2)).do([program("a", quick), program("b", slow)])
    assert caught.tb is not None
    limit = time.monotonic() + 1.0  # a killed process needs a moment to vanish
    while running := [e for e in Path("/proc").glob("[0-9]*/cwd") if is_in(e, tmp_path)]:
        assert time.monotonic() < limit, running


def is_in(entry: Path, folder: Path) -> bool:
    try:
        return entry.readlink().is_relative_to(folder)
    except OSError:
        return False


def test_a_counter_counts_what_is_finished(opened: Store) -> None:
    watcher = Watcher()
    work(opened, FakeLauncher(play)).do([task("a"), task("b")], Counter(watcher))
    assert watcher.advanced == [1, 2]


def test_the_clock_of_records_goes_forward(opened: Store) -> None:
    work(opened, FakeLauncher(play)).do([task("a"), task("b")])
    first, second = opened.records()
    assert 1.7e9 < first.time <= second.time
