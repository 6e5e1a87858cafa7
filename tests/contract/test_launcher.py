"""What every launcher must do: the one that starts processes, and the one that plays them."""

import dataclasses
import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers import slurm
from helpers.fake_slurm import FakeSlurm
from helpers.fakes import FakeLauncher
from phasewalk import jobs
from phasewalk.batch import JobsLauncher, Slurm
from phasewalk.cluster import SiteSettings
from phasewalk.cluster.workstation import WorkstationLauncher
from phasewalk.engines.local import LocalLauncher
from phasewalk.jobs import Event, Finished, Job, Launcher, Queued, Running, Started, run, submit
from phasewalk.settings_files import parse

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
        found = submit(self.launcher, [self.job(name) for name in names])
        return [
            (type(event).__name__, event.job.name)
            for event in found
            if not isinstance(event, Queued)
        ]


QUEUE = SiteSettings(site="test", max_jobs=2).model_copy(update={"poll_s": 0.1})


def played_queue(folder: Path) -> Launcher:
    """Batch jobs of a Slurm that is played."""
    queue = FakeSlurm(play, takes=lambda job: 30.0 if job.name.startswith("hang") else 0.3)
    return JobsLauncher(QUEUE, queue, folder, clock=queue, leaves=False)


LAUNCHERS: dict[str, Callable[[Path], Launcher]] = {
    "local": lambda folder: LocalLauncher(2),
    "workstation": lambda folder: WorkstationLauncher(WORKSTATION, 2, ("0", "1"), os.environ),
    "steps": lambda folder: slurm.fake_steps(folder),
    "jobs": played_queue,
    "fake": lambda folder: FakeLauncher(play),
}
WORKSTATION = parse("site: x\nscheduler: none", "site", SiteSettings)
ON_SLURM = [
    pytest.param(name, marks=[pytest.mark.slurm, pytest.mark.slow])
    for name in ("steps on Slurm", "jobs on Slurm")
]


@pytest.fixture(params=[*LAUNCHERS, *ON_SLURM])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder, programs = tmp_path_factory.mktemp("case"), tmp_path_factory.mktemp("programs")
    if request.param in LAUNCHERS:
        return Case(LAUNCHERS[request.param](programs), folder)
    if request.param == "jobs on Slurm":
        scheduler = Slurm({**os.environ, **request.getfixturevalue("cluster").env})
        return Case(JobsLauncher(QUEUE, scheduler, programs, leaves=False), folder)
    environ = request.getfixturevalue("two_cores")
    return Case(slurm.real_steps(environ), folder)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm.Cluster]:
    """A real Slurm."""
    with slurm.started(tmp_path_factory.mktemp("slurm")) as found:
        yield found


@pytest.fixture(scope="module")
def two_cores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of an allocation of two cores of a real Slurm."""
    with (
        slurm.started(tmp_path_factory.mktemp("slurm"), nodes=1) as cluster,
        slurm.allocated(cluster, "-n2", "--mem=1000", "--time=60") as environ,
    ):
        yield environ


def test_it_says_how_much_may_run_at_once(case: Case) -> None:
    # A queue has no cores of its own: each job has as many as it asks for.
    assert case.launcher.cores == (None if isinstance(case.launcher, JobsLauncher) else 2)


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
    started = [name for kind, name in events if kind == Started.__name__]
    in_a_queue = isinstance(case.launcher, JobsLauncher)  # whose order is the scheduler's
    assert (sorted(started) if in_a_queue else started) == (sorted(names) if in_a_queue else names)
    for name in names:
        kinds = [kind for kind, other in events if other == name]
        assert kinds[0] == Started.__name__
        assert kinds[-1] == Finished.__name__
        assert set(kinds[1:-1]) <= {Running.__name__}


def test_no_jobs_are_no_events(case: Case) -> None:
    assert case.events([]) == []


def test_nothing_is_started_before_the_first_event_is_asked_for(case: Case) -> None:
    submit(case.launcher, [case.job("copy")])
    case.launcher.session().add(case.job("copy"))
    assert list(case.folder.iterdir()) == []


def test_closing_stops_what_would_still_be_started(case: Case) -> None:
    jobs = [case.job("copy-1"), case.job("hang-2"), case.job("copy-3")]
    events = submit(case.launcher, jobs)
    next(events)
    events.close()
    assert list(events) == []
    assert not (case.folder / "not there yet/copy-3").exists()


def told(events: Iterator[Event]) -> list[tuple[str, str]]:
    return [
        (type(event).__name__, event.job.name)
        for event in events
        if not isinstance(event, Queued | Running)
    ]


def first(events: Iterator[Event]) -> list[tuple[str, str]]:
    """The first event of a job that does not wait any more."""
    return told(iter([next(event for event in events if not isinstance(event, Queued))]))


def test_a_job_is_added_while_another_runs(case: Case) -> None:
    with closing(case.launcher.session()) as session:
        session.add(case.job("copy-1"))
        for event in session.events():
            if isinstance(event, Started) and event.job.name == "copy-1":
                session.add(case.job("copy-2"))
        assert (case.folder / "not there yet/copy-2/out.txt").read_text() == "copy-2"


def test_events_that_are_left_early_go_on_where_they_were(case: Case) -> None:
    names = ["copy-1", "copy-2", "fail-3"]
    with closing(case.launcher.session()) as session:
        for name in names:
            session.add(case.job(name))
        seen: list[tuple[str, str]] = []
        while event := next(session.events(), None):
            seen += told(iter([event]))
        assert list(session.events()) == []
    assert sorted(seen) == sorted(
        (kind, name) for kind in ("Started", "Finished") for name in names
    )


def test_a_job_that_is_stopped_has_no_further_event(case: Case) -> None:
    with closing(case.launcher.session()) as session:
        running, waiting, last = (case.job(name) for name in ("hang-1", "hang-2", "copy-3"))
        session.add(running)
        assert first(session.events()) == [("Started", "hang-1")]
        session.add(waiting)
        session.add(last)
        session.stop(running.directory)
        session.stop(waiting.directory)
        session.stop(case.folder)  # nothing of that name: nothing to stop
        assert told(session.events()) == [("Started", "copy-3"), ("Finished", "copy-3")]
    assert not waiting.directory.exists()
    assert jobs.finished(running) is None


def test_a_session_that_is_closed_starts_nothing(case: Case) -> None:
    session = case.launcher.session()
    session.add(case.job("copy"))
    session.close()
    assert list(session.events()) == []
    assert list(case.folder.iterdir()) == []


def test_two_sessions_know_nothing_of_each_other(case: Case) -> None:
    with closing(case.launcher.session()) as one, closing(case.launcher.session()) as other:
        one.add(case.job("copy-1"))
        other.add(case.job("copy-2"))
        assert {name for _, name in told(other.events())} == {"copy-2"}
        assert {name for _, name in told(one.events())} == {"copy-1"}


@pytest.mark.parametrize(("name", "code"), [("copy", 0), ("fail", 3), ("hang", None)])
def test_what_became_of_a_job_is_read_from_its_directory_alone(
    case: Case, name: str, code: int | None
) -> None:
    job = case.job(name)
    assert jobs.finished(job) is None
    ended = run(case.launcher, job)
    assert jobs.finished(job) == ended
    assert ended.returncode == code
    assert ended.host
    written = json.loads((job.directory / jobs.ENDED).read_text())
    assert sorted(written.keys() - {"where"}) == ["host", "returncode", "seconds"]
    assert not list(job.directory.glob("*.part"))


def test_large_files_are_linked_and_survive_a_move_of_both(case: Case) -> None:
    model = case.folder / "campaign/models/a model.pth"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"weights")
    place = case.folder / "campaign/rounds/001/segment"
    job = dataclasses.replace(case.job("copy"), directory=place, links={"model.pth": model})
    run(case.launcher, job).require_success()
    link = job.directory / "model.pth"
    assert link.is_symlink()
    assert link.samefile(model)
    (case.folder / "campaign").rename(case.folder / "moved")
    assert (case.folder / "moved/rounds/001/segment/model.pth").read_bytes() == b"weights"


def test_only_a_run_of_the_same_job_counts_as_done_before(case: Case) -> None:
    model = case.folder / "model.pth"
    model.write_bytes(b"weights")
    job = dataclasses.replace(case.job("copy"), links={"model.pth": model})
    assert jobs.done_before(job) is None
    ended = run(case.launcher, job)
    assert jobs.done_before(job) == ended
    other = {"inputs": {"in.txt": b"other"}, "links": {"model.pth": job.directory / "out.txt"}}
    for key, value in other.items():
        assert jobs.done_before(dataclasses.replace(job, **{key: value})) is None
    later = (job.directory / jobs.ENDED).stat().st_mtime + 5
    os.utime(model, (later, later))  # it was written again since
    assert jobs.done_before(job) is None


def test_a_failed_run_is_not_done_before(case: Case) -> None:
    run(case.launcher, case.job("fail"))
    assert jobs.done_before(case.job("fail")) is None


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "{",
            "[]",
            '"x"',
            '{"returncode": 0}',
            '{"returncode": 0.5, "seconds": 1, "host": ""}',
        ),
        *('{"returncode": 0, "seconds": "1", "host": ""}', '{"returncode": true, "seconds": 1}'),
        '{"returncode": 0, "seconds": 1, "host": 3}',
    ],
)
def test_a_damaged_record_of_an_end_is_none(case: Case, text: str) -> None:
    job = case.job("copy")
    run(case.launcher, job)
    (job.directory / jobs.ENDED).write_text(text)
    assert jobs.finished(job) is None
