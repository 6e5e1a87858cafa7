"""What a running campaign shows: lines in a file, a live line on a terminal."""

import io
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from phasewalk import moment
from phasewalk.jobs import Finished, Job, Queued, Running, Started
from phasewalk.moment import Now, Seen, WalkerNow
from phasewalk.onsite import AtSite
from phasewalk.status import progress
from phasewalk.status.progress import Progress
from phasewalk.where import Where


def shown(*, terminal: bool, width: int = 60) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, no_color=True)
    with Progress(console) as seen:
        seen.begin(0, "label", 8, "labels")
        seen.advance(3, "")
        seen.begin(2, "segment", 800, "steps")
        seen.advance(400, "(slowest walker 100 of 400)")
        seen.say("salt-0: 400 steps; [last frame], " + "very " * 20 + "long")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_file_gets_whole_lines_only() -> None:
    lines = shown(terminal=False).splitlines()
    assert [line.strip() for line in lines] == [
        "0 s  bootstrap: label took 0.0 s",
        f"salt-0: 400 steps; [last frame], {'very ' * 20}long",
        "0 s  round 2: segment took 0.0 s",
    ]


def test_a_file_gets_a_sign_of_life_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", -1.0)
    text = shown(terminal=False)
    assert "bootstrap: label  3 of 8 labels  [0 s]" in text
    assert "round 2: segment  400 of 800 steps (slowest walker 100 of 400)  [0 s]" in text


def test_a_terminal_shows_how_far_it_is() -> None:
    text = shown(terminal=True, width=100)
    assert "3 of 8 labels" in text
    assert "400 of 800 steps (slowest walker 100 of 400)" in text


def test_an_end_without_a_stage() -> None:
    console = Console(file=io.StringIO())
    with Progress(console) as seen:
        seen.say("nothing to do")
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "  nothing to do\n"


def test_a_total_that_nobody_knows() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with Progress(console) as seen:
        seen.begin(1, "train generation 1", 0, "epochs")
        seen.advance(5, "of 40")
    assert isinstance(console.file, io.StringIO)
    assert "5 epochs of 40" in console.file.getvalue()


def test_a_total_that_comes_later() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with Progress(console, rounds=3) as seen:
        seen.begin(1, "train generation 1", 0, "epochs")
        seen.advance(5, "force MAE 245 meV/Å", Seen(total=40, seconds_left=200))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "round 1 of 3: train generation 1" in text
    assert "about 3 min 20 s left" in text
    assert "5 of 40 epochs force MAE 245 meV/Å" in text


class Times:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1e9 + self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Times:
    times = Times()
    monkeypatch.setattr(progress, "time", times)
    return times


def job(number: int, cores: int = 1) -> Job:
    return Job(f"label {number}", ("x",), Path(f"/camp/rounds/000/label/{number}"), threads=cores)


def test_labels_by_their_jobs(clock: Times) -> None:
    kept: list[Now] = []
    console = Console(file=io.StringIO())
    with Progress(console, 4, Path("/camp"), kept.append, lambda: 0.5) as seen:
        seen.begin(0, "label", 8, "labels")
        for number in range(2):
            seen.see(Started(job(number, cores=2)))
        clock.now = 9.0
        for number in range(2):
            seen.see(Running(job(number, cores=2), 9.0))
        clock.now = 10.0
        seen.see(Finished(job(0), 0, 10.0))
        seen.see(Started(job(2, cores=2)))
        clock.now = 14.0
        seen.see(Running(job(1, cores=2), 14.0))
        seen.see(Running(job(2, cores=2), 4.0))
        seen.advance(1, "", Seen(numbers={"failed": 1}))
        clock.now = 20.0
        seen.advance(1, "", Seen(numbers={"failed": 1}))
    early, late = kept[2], kept[-1]
    assert (early.seconds_left, early.numbers, early.place) == (
        None,
        {"running": 2},
        "rounds/000/label",
    )
    assert early.core_hours == pytest.approx(0.5 + 2 * 9 / 3600, abs=1e-5)
    assert (late.done, late.total, late.numbers) == (1, 8, {"running": 2, "failed": 1})
    # Six remain at 10 s each; of those that run, one is overdue, and one has done 4 s of its own.
    assert late.seconds_left == pytest.approx((6 * 10 - 10 - 4) / 2)
    assert late.core_hours == pytest.approx(0.5 + 2 * (14 + 4) / 3600, abs=1e-5)
    assert (late.began, late.at, late.rounds) == (1e9, 1e9 + 20, 4)


def test_jobs_in_a_queue_do_not_run(clock: Times) -> None:
    kept: list[Now] = []
    with Progress(Console(file=io.StringIO()), 4, Path("/camp"), kept.append) as seen:
        seen.begin(0, "label", 8, "labels")
        seen.see(Queued(job(0), 0.0))
        seen.see(Started(job(1)))
        seen.see(Started(job(2)))
        seen.see(Queued(job(2), 60.0, "BeginTime"))  # its node was lost
        clock.now += 5.0
        seen.advance(1, "")
    assert kept[-1].numbers == {"running": 1}


def test_jobs_on_a_site_are_in_lines_and_are_kept_when_it_is_stopped(
    clock: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", -1.0)
    kept: list[Now] = []
    console, root = Console(file=io.StringIO(), width=200), Path("/camp")
    where = Where("label", "cpu", "7", "n1", 8, 0, 1e9 - 60, 1e9)
    with (
        suppress(KeyboardInterrupt),
        Progress(console, 4, root, kept.append, site=AtSite(root=root)) as seen,
    ):
        seen.begin(0, "label", 8, "labels")
        seen.see(Started(job(0), where))
        clock.now += 3600.0
        seen.see(Running(job(0), 3600.0, where))
        seen.see(Queued(job(1), 5.0, "Priority", replace(where, started=None, nodes="")))
        seen.see(Queued(job(2), 5.0, "Priority", replace(where, started=None, nodes="")))
        raise KeyboardInterrupt
    assert isinstance(console.file, io.StringIO)
    assert "running: 1 label" in console.file.getvalue()
    last = kept[-1]
    assert last.site is not None
    assert [(one.queued, one.running, one.core_hours) for one in last.site.work] == [(2, 1, 8.0)]
    assert next(one.place for one in last.site.jobs) == "rounds/000/label/0"
    assert last.core_hours == 8.0  # as many as it has, whatever it asks for
    assert moment.from_json(moment.to_json(last)) == last
    text = "\n".join(progress.lines(last))
    assert "  label: 2 queued, 1 running, 0 done; waits now 1 h 01 min (Priority)" in text


def test_jobs_beside_the_stage_cost_but_are_not_what_it_is_at(clock: Times) -> None:
    """A compilation goes on while walkers run; a late label while others are labelled."""
    kept: list[Now] = []
    compiles = Job("compile", ("x",), Path("/camp/rounds/000/compile"), threads=4)
    with Progress(Console(file=io.StringIO()), 4, Path("/camp"), kept.append) as seen:
        for unit in ("steps", "labels"):
            seen.begin(1, "stage", 8, unit)
            seen.see(Running(compiles, 36.0), beside=True)
            seen.see(Started(job(1)))
            seen.see(Running(job(1), 36.0))
            clock.now += 5.0
            seen.advance(1, "")
        seen.see(Finished(compiles, 0, 1000.0), beside=True)
        clock.now += 5.0
        seen.advance(1, "")
    segment, labels, later = kept[-4], kept[-2], kept[-1]
    assert (segment.place, labels.place) == ("rounds/000/label/1", "rounds/000/label")
    assert segment.core_hours == labels.core_hours == 0.05
    assert labels.numbers == {"running": 1}
    assert (later.core_hours, later.seconds_left) == (0.01, None)


def test_a_job_that_the_stage_comes_to_wait_for_counts_once(clock: Times) -> None:
    kept: list[Now] = []
    with Progress(Console(file=io.StringIO()), 4, Path("/camp"), kept.append) as seen:
        seen.begin(1, "label", 8, "labels")
        seen.see(Running(job(1), 36.0), beside=True)
        seen.see(Running(job(1), 36.0))
        clock.now += 5.0
        seen.advance(1, "")
    assert (kept[-1].core_hours, kept[-1].numbers) == (0.01, {"running": 1})


def test_signs_are_kept_now_and_then_and_where_a_stage_begins(clock: Times) -> None:
    kept: list[Now] = []
    with Progress(Console(file=io.StringIO()), keep=kept.append) as seen:
        seen.begin(1, "segment", 800, "steps")
        for step in range(40):
            clock.now = step * 0.25
            seen.advance(step, "")
        seen.begin(1, "label", 2, "labels")
    assert [(one.stage, one.done) for one in kept] == [
        ("starting", 0), ("segment", 0), *(("segment", done) for done in (8, 16, 24, 32)),
        ("label", 0),
    ]  # fmt: skip


def test_what_has_stopped_to_count_is_shown_all_the_same(clock: Times) -> None:
    kept: list[Now] = []
    with Progress(Console(file=io.StringIO()), keep=kept.append) as seen:
        seen.begin(1, "prove generation 1", 1, "jobs")
        for second in range(9):
            clock.now = second
            seen.see(Running(job(0), second))
    assert [one.at for one in kept] == [1e9, 1e9, *(1e9 + second for second in (2, 4, 6, 8))]


@pytest.mark.parametrize("terminal", [True, False])
def test_numbers_that_are_none_break_nothing(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", -1.0)
    console = Console(file=io.StringIO(), width=100, force_terminal=terminal)
    with Progress(console) as seen:
        seen.begin(1, "train generation 1", 0, "epochs")
        for value in (float("nan"), float("inf")):
            seen.advance(value, "", Seen(total=value, seconds_left=value, numbers={"x": value}))


def test_jobs_side_by_side_of_one_kind_and_of_several(clock: Times) -> None:
    def place(unit: str, *names: str) -> str:
        kept: list[Now] = []
        with Progress(Console(file=io.StringIO()), 4, Path("/camp"), kept.append) as seen:
            seen.begin(1, "stage", 0, unit)
            for name in names:
                seen.see(Started(Job("x", ("x",), Path("/camp/rounds/001", name))))
            clock.now += 5.0
            seen.advance(1, "")
        return kept[-1].place

    assert place("epochs", "train") == "rounds/001/train"
    assert place("epochs", "train", "evaluate-0") == "rounds/001/train"
    assert place("labels", "label/a") == "rounds/001/label"
    assert place("labels", "label/a", "label/b") == "rounds/001/label"


def test_walkers_on_a_terminal() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, no_color=True)
    row = WalkerNow("salt-0", 120, 400, 0.06, 301.0, 179.25, {"vol": 0.17925}, 0.91)
    with Progress(console) as seen:
        seen.begin(1, "segment", 400, "steps")
        seen.advance(120, "", Seen((row,)))
    assert isinstance(console.file, io.StringIO)
    for cell in ("salt-0", "120 of 400", "0.060", "301", "vol 0.17925", "0.91"):
        assert cell in console.file.getvalue()
