"""The jobs of a run in the queue of a played Slurm: what may happen to them, and to the driver."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers import fake_campaign, fake_engines
from helpers.fake_lammps import DUMPED, RESTARTS, SETTINGS, STEPS, STRANGE, Lammps
from helpers.fake_slurm import FakeSlurm, Played
from helpers.fakes import FakeLauncher
from phasewalk.batch import JobsLauncher
from phasewalk.cluster import PlaceSettings, SiteSettings
from phasewalk.engines import here
from phasewalk.errors import EngineFailed, InputError, StoreError
from phasewalk.jobs import Job
from phasewalk.producing import make, needs, running, settings, starts, written
from phasewalk.producing.plan import Plan
from phasewalk.producing.written import Full
from phasewalk.where import MARK

PLACE = PlaceSettings(time_min=60, memory_GB=2)
STOP = "production.stop"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("production")
    fake_campaign.make(folder / "a").run()
    file = folder / "p.yaml"
    file.write_text(json.dumps(SETTINGS))
    return make(settings.read(file), file, here())


@dataclass
class Case:
    """A run at a site."""

    plan: Plan
    folder: Path
    slurm: FakeSlurm = field(default_factory=lambda: FakeSlurm(takes=lambda job: 600.0, age_s=1e9))
    said: list[str] = field(default_factory=list)
    during: Callable[[str], None] = lambda line: None
    """What happens when progress is shown."""

    def __post_init__(self) -> None:
        self.lammps = Lammps(self.plan)
        self.slurm.play = self.lammps

    @property
    def root(self) -> Path:
        return self.folder / "p.production"

    def run(self) -> starts.Outcome:
        site = SiteSettings(site="lab", production=PLACE)
        return running.run(
            self.plan,
            self.root,
            JobsLauncher(site, self.slurm, self.folder / "slurm", clock=self.slurm),
            fake_engines.engines(self.folder),
            show=lambda line: self.during(line),
            say=self.said.append,
            leaves=True,
        )

    def left(self) -> None:
        """Ctrl-C while its job runs."""

        def stopped(line: str) -> None:
            if self.slurm.running():
                raise KeyboardInterrupt

        self.during = stopped
        with pytest.raises(KeyboardInterrupt):
            self.run()
        self.during = lambda line: None

    def happens(self, action: Callable[[Played], None]) -> None:
        """Something happens to the first job that is seen to run, once."""
        done: list[bool] = []

        def during(line: str) -> None:
            if self.slurm.running() and not done:
                done.append(True)
                action(self.slurm.running()[0])

        self.during = during

    def check(self) -> None:
        """All entries are there, each once."""
        rows = [
            line.split()[0]
            for line in (self.root / "walker-0.thermo").read_text().split("\n")
            if line
        ]
        wanted = list(range(0, STEPS + 1, DUMPED))
        assert [int(row) for row in rows] == wanted
        dump = (self.root / "walker-0.dump").read_text().split("ITEM: TIMESTEP\n")[1:]
        assert [int(frame.split()[0]) for frame in dump] == wanted
        times = [
            round(float(line.split()[0]) * 2000)
            for line in (self.root / "walker-0.colvar").read_text().splitlines()
            if line[0] != "#"
        ]
        assert times == wanted


@pytest.fixture
def case(plan: Plan, tmp_path: Path) -> Case:
    return Case(plan, tmp_path)


def test_the_next_job_goes_on_before_the_time_limit(case: Case) -> None:
    case.slurm.takes = lambda job: 4000.0  # the limit is 3600 s
    ended = case.run()
    assert ended.done
    case.check()
    assert case.slurm.accepted == 4  # 30 steps each
    assert [line for line in case.said if "goes on at" in line] == [
        f"walker-0 goes on at step {step}" for step in (30, 60, 90)
    ]
    assert "the job was stopped before its time was over; the run goes on" in case.said
    script = next(iter(case.slurm.jobs.values())).text
    assert "#SBATCH --no-requeue\n#SBATCH --signal=B:USR1@300\n" in script
    assert "#SBATCH --job-name=phasewalk-production-" in script
    assert not (case.root / STOP).exists()
    assert list((case.folder / "slurm").iterdir()) == []
    assert case.run().done
    assert case.slurm.accepted == 4  # nothing is left to do


def test_killed_at_the_time_limit(case: Case) -> None:
    """It does not stop when it is asked to, but has written restart files."""
    case.slurm.takes = lambda job: 4000.0
    end, limits = case.slurm.end, 0

    def ends(one: Played, state: str) -> None:
        nonlocal limits
        if state == "TIMEOUT":
            limits += 1
            case.lammps.dies(case.root, case.lammps.begin(case.root) + RESTARTS + DUMPED)
            case.slurm.takes = lambda job: 4000.0 if limits < 2 else 600.0
        end(one, state)

    def during(line: str) -> None:
        for one in case.slurm.running():
            one.early_s = None

    case.slurm.end, case.during = ends, during  # type: ignore[method-assign]
    assert case.run().done
    case.check()
    assert (limits, case.slurm.accepted) == (2, 3)
    assert any("stopped at the time limit of its batch job, 60 min" in line for line in case.said)


@pytest.mark.parametrize(("state", "words"), [
    ("NODE_FAIL", "lost with its node (n1)"),
    ("PREEMPTED", "preempted by a job of higher priority (n1)"),
])  # fmt: skip
def test_a_lost_job_goes_on_from_its_last_restart_file(case: Case, state: str, words: str) -> None:
    fates = [state, state]

    def fate(job: Job) -> str | None:
        if not fates:
            return None
        case.lammps.dies(case.root, case.lammps.begin(case.root) + RESTARTS + DUMPED)
        return fates.pop()

    case.slurm.fate = fate
    assert case.run().done
    case.check()
    assert case.slurm.accepted == 3
    assert case.said.count(f"the job was {words}; the run goes on") == 2
    submitted = sorted(one.submitted for one in case.slurm.jobs.values())
    assert submitted[1] - submitted[0] > 600 + 60  # until nothing on that node writes any more


def test_lost_again_and_again_without_a_restart_file(case: Case) -> None:
    def fate(job: Job) -> str:
        case.lammps.dies(case.root, DUMPED)
        return "PREEMPTED"

    case.slurm.fate = fate
    with pytest.raises(EngineFailed, match=r"3 jobs in a row .* the last one was preempted"):
        case.run()
    assert case.slurm.accepted == 3
    case.slurm.fate = lambda job: None
    assert case.run().done
    case.check()


def test_too_little_memory_does_not_start_again(case: Case) -> None:
    def fate(job: Job) -> str:
        case.lammps.dies(case.root, RESTARTS + DUMPED)
        return "OUT_OF_MEMORY"

    case.slurm.fate = fate
    with pytest.raises(
        EngineFailed, match=r"killed for memory .limit: 2 GB.; raise memory_GB of production"
    ):
        case.run()
    assert case.slurm.accepted == 1
    case.slurm.fate = lambda job: None
    assert case.run().done
    case.check()


def test_an_error_of_lammps_is_said_and_the_next_command_tries_again(case: Case) -> None:
    def fails(job: Job) -> int:
        with (case.root / "walker-0.log").open("a") as log:  # of all starts
            log.write("ERROR: Lost atoms\n")
        return 1

    case.slurm.play = fails
    for _ in range(2):
        with pytest.raises(EngineFailed, match=r"walker-0: ERROR: Lost atoms .the log is"):
            case.run()
    assert case.slurm.accepted == 2


def test_a_job_that_goes_on_is_taken_over(case: Case) -> None:
    """Nothing is cut while it runs, and no other one is submitted."""
    case.left()
    (one,) = case.slurm.running()
    assert one.state == "RUNNING"
    case.lammps.walk(case.root, 20)
    before = (case.root / "walker-0.thermo").read_bytes()

    def during(line: str) -> None:
        if case.slurm.running():
            assert (case.root / "walker-0.thermo").read_bytes() == before

    case.during = during
    case.slurm.play = lambda job: finish(case)
    assert case.run().done
    case.check()
    assert case.slurm.accepted == 1
    assert "an earlier job of this run is taken over" in case.said


def finish(case: Case) -> int:
    """The rest of the steps, of which 20 have been written."""
    for step in range(20 + DUMPED, STEPS + 1, DUMPED):
        case.lammps.write(case.root, step)
    case.lammps.restart(case.root, "end", STEPS)
    return 0


def test_a_job_in_the_queue_is_not_forgotten_without_its_site(case: Case) -> None:
    """On this machine its files would be cut while it writes."""
    case.left()
    case.lammps.walk(case.root, 50)
    before = (case.root / "walker-0.thermo").read_bytes()

    def on_this_machine() -> starts.Outcome:
        machine, programs = FakeLauncher(case.lammps), fake_engines.engines(case.folder)
        return running.run(case.plan, case.root, machine, programs, show=str, say=str)

    with pytest.raises(InputError, match=r"a batch job of this run may be in the queue; continue"):
        on_this_machine()
    assert (case.root / "walker-0.thermo").read_bytes() == before
    (one,) = case.slurm.running()
    (case.root / STOP).touch()
    one.going[0].until = case.slurm.time + 1
    case.slurm.play = lambda job: case.lammps.restart(case.root, "end", 50) or 0
    case.slurm.sleep(2)  # it ends, and nobody sees it
    assert on_this_machine().done
    case.check()
    assert on_this_machine().done


@pytest.mark.parametrize("state", ["CANCELLED", "NODE_FAIL", "TIMEOUT", "vanished"])
def test_a_job_that_ended_while_nobody_saw_it(case: Case, state: str) -> None:
    case.left()
    case.lammps.dies(case.root, RESTARTS + DUMPED)
    (one,) = case.slurm.running()
    if state == "vanished":
        case.slurm.vanish(one)
    else:
        case.slurm.end(one, state)
    assert case.run().done
    case.check()
    assert case.slurm.accepted == 2
    assert f"walker-0 goes on at step {RESTARTS}" in case.said


def test_cancelled_by_hand(case: Case) -> None:
    case.happens(lambda one: case.slurm.end(one, "CANCELLED"))
    with pytest.raises(EngineFailed, match=r"was cancelled by hand .scancel."):
        case.run()
    assert case.run().done


def test_asked_to_stop(case: Case) -> None:
    """By the user: no other job is submitted."""
    case.happens(lambda one: running.stop(case.root))
    ended = case.run()
    assert (ended.done, ended.steps) == (False, {"walker-0": 30})
    assert case.slurm.accepted == 1
    assert not (case.root / STOP).exists()
    case.during = lambda line: None
    assert case.run().done
    case.check()


def test_put_back_into_the_queue_all_the_same(case: Case) -> None:
    """As by `scontrol requeue`: it would write a second time what is in the files."""

    def requeued(one: Played) -> None:
        case.lammps.dies(case.root, RESTARTS + DUMPED)
        case.slurm.requeue(one)

    case.happens(requeued)
    assert case.run().done
    case.check()
    assert case.slurm.started == ["production", "production"]


def test_a_second_command_is_refused(case: Case) -> None:
    seen: list[str] = []

    def during(line: str) -> None:
        if not seen:
            with pytest.raises(StoreError, match="in use by another run") as caught:
                case.run()
            seen.append(str(caught.value))

    case.during = during
    assert case.run().done
    assert seen


def test_little_space_stops_a_job_in_the_queue_softly(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = True

    def usage(place: Path) -> SimpleNamespace:
        return SimpleNamespace(free=1e5 if full and case.slurm.running() else 1e12)

    monkeypatch.setattr(needs.shutil, "disk_usage", usage)
    with pytest.raises(Full, match=r"100 kB are free, too little to go on; free some"):
        case.run()
    assert "stopping, and writing a restart file …" in case.said
    assert (case.slurm.accepted, case.slurm.running()) == (1, [])
    assert not (case.root / STOP).exists()
    assert not (case.root / MARK).exists()
    full = False
    assert case.run().done
    assert "walker-0 goes on at step 30" in case.said
    case.check()


def lines_are_missing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job whose table ends before its last restart file, as on a full disk."""
    monkeypatch.setattr(written.time, "monotonic", lambda: case.slurm.time)

    def missing(one: Played) -> None:
        case.lammps.walk(case.root, RESTARTS + DUMPED)
        case.lammps.restart(case.root, "a", RESTARTS)
        case.lammps.restart(case.root, "b", 2 * RESTARTS)

    case.slurm.play = lambda job: 0
    case.happens(missing)


def test_a_job_in_the_queue_that_does_not_write_is_stopped(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the error is said: the next command must not start a second one beside it."""
    lines_are_missing(case, monkeypatch)
    case.slurm.takes = lambda job: 250.0
    with pytest.raises(EngineFailed, match=r"walker-0.thermo: it ends before step 80 .is there no"):
        case.run()
    assert case.slurm.time > starts.LATE_S
    assert (case.slurm.accepted, case.slurm.running()) == (1, [])
    case.slurm.play = case.lammps
    assert case.run().done
    assert f"walker-0 goes on at step {RESTARTS}" in case.said
    case.check()


def test_a_job_in_the_queue_that_does_not_stop_is_taken_over(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines_are_missing(case, monkeypatch)
    case.slurm.takes = lambda job: 3000.0
    late = r"before step 80 .*; its job in the queue is not stopped yet, after 300 s"
    with pytest.raises(EngineFailed, match=late):
        case.run()
    assert len(case.slurm.running()) == 1
    assert (case.root / STOP).exists()
    case.during = lambda line: None
    with pytest.raises(EngineFailed, match="it ends before step 80"):
        case.run()
    assert "an earlier job of this run is taken over" in case.said
    assert case.slurm.accepted == 1
    case.slurm.sleep(3000.0)  # it has stopped
    case.slurm.play = case.lammps
    assert case.run().done
    assert case.slurm.accepted == 2
    case.check()


def test_a_run_with_missing_lines_has_not_ended(case: Case) -> None:
    def loses_a_line(job: Job) -> int:
        ended = case.lammps(job)
        path = job.directory / "walker-0.thermo"
        path.write_text(path.read_text().replace("\n90 300\n", "\n"))
        case.lammps.restart(job.directory, "a", 2 * RESTARTS)
        return ended

    case.slurm.play = loses_a_line
    with pytest.raises(
        EngineFailed, match=r"thermo, line 10: step 100 where 90 is .* was there no"
    ):
        case.run()
    case.slurm.play = case.lammps
    assert case.run().done
    assert f"walker-0 goes on at step {2 * RESTARTS}" in case.said
    case.check()
    assert case.slurm.accepted == 2


def test_no_alarm_is_lost_or_twice_over_several_jobs(case: Case) -> None:
    """Also those of frames that nobody had looked at when the run was killed at its end."""
    case.slurm.takes = lambda job: 4000.0
    assert case.run().done
    path = case.root / "alarms.jsonl"
    found = path.read_text()
    lines = found.splitlines()
    assert {json.loads(line)["step"] for line in lines} == {*STRANGE, 90}
    assert len(lines) == len(set(lines))
    for old in case.root.glob("alarms.*"):
        old.unlink()
    assert case.run().done
    assert path.read_text() == found
