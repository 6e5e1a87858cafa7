"""What every launcher must do: the one that starts processes, and the one that plays them."""

import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.fakes import FakeLauncher
from phasewalk.engines.local import LocalLauncher
from phasewalk.jobs import Finished, Job, Launcher, Running, Started, run

PROGRAMS = {
    "copy": "open('out.txt', 'w').write(open('in.txt').read()); print('copied')",
    "fail": "print('no convergence', file=sys.stderr); sys.exit(3)",
    "hang": "time.sleep(30)",
}


def play(job: Job) -> int | None:
    """What the programs do, without a process."""
    if job.name.startswith("fail"):
        (job.directory / Finished.STDERR).write_text("no convergence\n")
        return 3
    if job.name.startswith("hang"):
        return None
    (job.directory / "out.txt").write_bytes((job.directory / "in.txt").read_bytes())
    (job.directory / Finished.STDOUT).write_text("copied\n")
    return 0


@dataclass
class Case:
    launcher: Launcher
    folder: Path

    def job(self, name: str) -> Job:
        text = textwrap.dedent(f"import sys, time\n{PROGRAMS[name.split('-')[0]]}")
        return Job(
            name,
            (sys.executable, "-c", text),
            self.folder / "not there yet" / name,
            inputs={"in.txt": name.encode()},
            timeout_s=0.5 if name.startswith("hang") else 30.0,
        )

    def events(self, names: Sequence[str]) -> list[tuple[str, str]]:
        found = self.launcher.submit([self.job(name) for name in names])
        return [(type(event).__name__, event.job.name) for event in found]


LAUNCHERS: dict[str, Callable[[], Launcher]] = {
    "local": lambda: LocalLauncher(2),
    "fake": lambda: FakeLauncher(play),
}


@pytest.fixture(params=LAUNCHERS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return Case(LAUNCHERS[request.param](), tmp_path)


def test_it_says_how_much_may_run_at_once(case: Case) -> None:
    assert case.launcher.cores == 2


def test_inputs_are_there_and_outputs_can_be_read(case: Case) -> None:
    finished = run(case.launcher, case.job("copy"))
    assert finished.returncode == 0
    assert finished.seconds > 0
    assert finished.require_success() is finished
    assert (finished.directory / "out.txt").read_text() == "copy"
    assert (finished.directory / Finished.STDOUT).read_text() == "copied\n"
    assert (finished.directory / Finished.STDERR).read_text() == ""
    assert finished.last_lines() == "copied"


def test_a_failure_and_a_time_limit_are_results(case: Case) -> None:
    failed = run(case.launcher, case.job("fail"))
    assert (failed.returncode, failed.last_lines()) == (3, "no convergence")
    assert run(case.launcher, case.job("hang")).returncode is None


def test_each_job_starts_once_and_finishes_once_in_this_order(case: Case) -> None:
    names = ["copy-1", "fail-1", "copy-2", "copy-3"]
    events = case.events(names)
    assert [name for kind, name in events if kind == Started.__name__] == names
    for name in names:
        kinds = [kind for kind, other in events if other == name]
        assert kinds[0] == Started.__name__
        assert kinds[-1] == Finished.__name__
        assert set(kinds[1:-1]) <= {Running.__name__}


def test_no_jobs_are_no_events(case: Case) -> None:
    assert case.events([]) == []


def test_nothing_is_started_before_the_first_event_is_asked_for(case: Case) -> None:
    case.launcher.submit([case.job("copy")])
    assert list(case.folder.iterdir()) == []


def test_closing_stops_what_would_still_be_started(case: Case) -> None:
    events = case.launcher.submit([case.job("copy-1"), case.job("hang-2"), case.job("copy-3")])
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert list(events) == []
    assert not (case.folder / "not there yet/copy-3").exists()
