"""The program that a batch script runs, without Slurm."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from phasewalk import jobs
from phasewalk.batch import batches
from phasewalk.batch.batches import Plan
from phasewalk.cluster import Need, PlaceSettings
from phasewalk.engines import workplace
from phasewalk.files import set_aside
from phasewalk.jobs import Finished, Job
from phasewalk.where import Where

PLACE = PlaceSettings()
SLEEPS = "import time; print('begun', flush=True); time.sleep(30)"


@dataclass
class Batch:
    """A batch job of these programs in Python, each a job."""

    folder: Path
    name: str = "phasewalk-1"

    def job(self, number: int, program: str, **changes: object) -> Job:
        argv = (sys.executable, "-S", "-c", program)
        place = self.folder / 'it\'s a "job"' / str(number)
        return replace(Job(f"job-{number}", argv, place, inputs={"in": b"1"}), **changes)  # type: ignore[arg-type]

    def write(self, members: Sequence[Job], plan: Plan, **changes: object) -> Path:
        for job in members:
            batches.place_files(job, batches.Mark(self.name), staged=False)
        place = self.folder / "batch jobs" / self.name
        batches.write_batch(place, members, PLACE, plan)
        content = json.loads((place / batches.JOBS).read_text())
        (place / batches.JOBS).write_text(json.dumps(content | {"stopped_s": 0.2} | changes))
        return place

    def start(self, place: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["bash", place / batches.SCRIPT], cwd=place)

    def run(self, *members: Job, plan: Plan | None = None) -> None:
        place = self.write(members, plan or Plan(Need(), pack_min=5))
        assert self.start(place).wait(60) == 0


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return Batch(tmp_path)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def begun(job: Job) -> Callable[[], bool]:
    path = job.directory / Finished.STDOUT
    return lambda: path.exists() and b"begun" in path.read_bytes()


def test_jobs_one_after_another(batch: Batch) -> None:
    copy = "import os; open('out', 'w').write(open('in').read() + os.environ['MINE'])"
    shows = "import os; print(os.environ['TMPDIR'], os.getcwd())"
    one = batch.job(1, copy, env={"MINE": "it's"})
    two = batch.job(2, shows)
    batch.run(one, two)
    ends = [jobs.finished(job) for job in (one, two)]
    assert [end and (end.returncode, end.why) for end in ends] == [(0, ""), (0, "")]
    assert sorted(json.loads((one.directory / jobs.ENDED).read_text())) == [
        *("host", "returncode", "seconds", "where")
    ]
    assert (one.directory / "out").read_text() == "1it's"
    place = two.directory
    assert (place / Finished.STDOUT).read_text() == f"{place}/tmp {place}\n"
    assert not (place / "tmp").exists()


def test_where_a_job_ran_is_written_beside_it(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it is known if phasewalk was killed, and Slurm has forgotten the batch job."""
    said = {"ID": "17", "PARTITION": "gpu", "NODELIST": "n[1-2]"}
    for name, text in said.items():
        monkeypatch.setenv(f"SLURM_JOB_{name}", text)
    job = batch.job(1, "pass", kind="label", threads=3)
    place = batch.write([job], Plan(Need()))
    batches.write_number(place, "17")
    os.utime(place / batches.NUMBER, (1e9, 1e9))
    before = time.time()
    assert batch.start(place).wait(60) == 0
    ended = jobs.finished(job)
    assert ended is not None
    assert ended.where is not None
    started = ended.where.started
    assert started is not None
    assert before <= started <= time.time()
    assert replace(ended.where, started=None) == Where("label", "gpu", "17", "n[1-2]", 3, 0, 1e9)


def test_failures_are_recorded(batch: Batch) -> None:
    members = [
        batch.job(1, "import sys; sys.exit('no convergence')"),
        batch.job(2, "import os; os.kill(os.getpid(), 9)"),
        replace(batch.job(3, ""), argv=("/no/such program",)),
        batch.job(4, SLEEPS, timeout_s=0.5),
        batch.job(5, "pass"),
    ]
    batch.run(*members)
    ends = [jobs.finished(job) for job in members]
    assert [end and end.returncode for end in ends] == [1, 137, 127, None, 0]
    assert [end and end.last_lines() for end in ends][:3] == [
        "no convergence",
        "(no output)",
        "cannot start /no/such program: No such file or directory",
    ]
    assert ends[3] is not None
    assert 0.5 <= ends[3].seconds < 5


def test_several_side_by_side(batch: Batch) -> None:
    meets = (
        "import pathlib, time, sys\n"
        "pathlib.Path('../here-' + sys.argv[1]).touch()\n"
        "while not pathlib.Path('../here-' + sys.argv[2]).exists(): time.sleep(0.01)"
    )
    one, two = (batch.job(i, meets, timeout_s=20.0) for i in (1, 2))
    members = [
        replace(one, argv=(*one.argv, "1", "2")),
        replace(two, argv=(*two.argv, "2", "1")),
    ]
    place = batch.write(members, Plan(Need(), pack_min=5), at_a_time=2)
    assert batch.start(place).wait(60) == 0
    assert [(end := jobs.finished(job)) and end.returncode for job in members] == [0, 0]


def test_nothing_is_recorded_of_what_slurm_stops(batch: Batch) -> None:
    one, two = batch.job(1, SLEEPS), batch.job(2, SLEEPS)
    process = batch.start(batch.write([one, two], Plan(Need(), pack_min=5)))
    until(begun(one))
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert jobs.finished(one) is None
    assert not (two.directory / Finished.STDOUT).exists()


def test_a_program_that_slurm_stops_first_has_not_failed(batch: Batch) -> None:
    """Slurm signals the program and the batch job at once."""
    one = batch.job(1, f"import os; print(os.getpid(), flush=True); {SLEEPS}")
    process = batch.start(batch.write([one], Plan(Need()), stopped_s=2.0))
    until(begun(one))
    pid = int((one.directory / Finished.STDOUT).read_text().split()[0])
    subprocess.run(["kill", str(pid)], check=True)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert jobs.finished(one) is None


def test_a_batch_job_that_is_started_again_goes_on(batch: Batch, tmp_path: Path) -> None:
    """What has ended is not repeated; what had begun finds its files as they were."""
    source = tmp_path / "hills"
    source.write_text("1\n")
    done = batch.job(1, "open('count', 'a').write('x')")
    goes = (
        "import pathlib, time\n"
        "print('begun', flush=True)\n"
        "first = not pathlib.Path('../again').exists()\n"
        "old = pathlib.Path('left').exists() or pathlib.Path('deep/left').exists()\n"
        "pathlib.Path('left').touch(); pathlib.Path('deep/left').touch()\n"
        "for name in ('hills', 'mine'):\n"
        "    path = pathlib.Path(name); path.write_text(path.read_text() + '2\\n')\n"
        "if first: pathlib.Path('../again').touch(); time.sleep(30)\n"
        "print(old)"
    )
    inputs = {"deep/in": b"1", "mine": b"1\n"}
    cut = batch.job(2, goes, copies={"hills": source}, inputs=inputs, grows=frozenset({"mine"}))
    place = batch.write([done, cut], Plan(Need(), pack_min=5))
    process = batch.start(place)
    until(begun(cut))
    until((cut.directory.parent / "again").exists)
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    assert batch.start(place).wait(30) == 0
    assert (done.directory / "count").read_text() == "x"
    assert (cut.directory / Finished.STDOUT).read_text() == "begun\nFalse\n"
    for name in ("hills", "mine"):
        assert (cut.directory / name).read_text() == "1\n2\n"
    assert (cut.directory / "deep/in").read_text() == "1"


def test_a_directory_of_another_batch_job_is_left_alone(batch: Batch) -> None:
    one, two, three = (batch.job(i, "print('ran')") for i in (1, 2, 3))
    place = batch.write([one, two, three], Plan(Need(), pack_min=5))
    batches.place_files(one, batches.Mark("phasewalk-2"), staged=True)
    batches.forget(two.directory)
    assert batch.start(place).wait(20) == 0
    assert [jobs.finished(job) is not None for job in (one, two, three)] == [False, False, True]


def test_a_job_that_is_no_longer_wanted_is_stopped(batch: Batch) -> None:
    one, two = batch.job(1, SLEEPS), batch.job(2, "print('ran')")
    process = batch.start(batch.write([one, two], Plan(Need(), pack_min=5), look_s=0.2))
    until(begun(one))
    batches.forget(one.directory)
    assert process.wait(20) == 0
    assert jobs.finished(one) is None
    assert jobs.finished(two) is not None


def test_no_result_is_written_into_the_directory_of_another_try(batch: Batch) -> None:
    one = batch.job(1, f"print('begun', flush=True); {SLEEPS.replace('30', '1')}")
    process = batch.start(batch.write([one], Plan(Need())))
    until(begun(one))
    set_aside(one.directory, "interrupted")
    batches.place_files(one, batches.Mark("phasewalk-2", 2), staged=False)
    assert process.wait(20) == 0
    assert jobs.finished(one) is None


def test_no_job_begins_after_its_time(batch: Batch) -> None:
    one, two = batch.job(1, "import time; time.sleep(0.5)"), batch.job(2, "print('ran')")
    place = batch.write([one, two], Plan(Need()), last_start_s=0.2)
    assert batch.start(place).wait(20) == 0
    assert jobs.finished(one) is not None
    assert not (two.directory / Finished.STDOUT).exists()


LASTS = (
    "import pathlib, time\n"
    "print('begun', flush=True)\n"
    "while not pathlib.Path('stop').exists(): time.sleep(0.02)\n"
    "pathlib.Path('restart').touch()"
)


def test_before_the_time_limit_a_program_is_asked_to_stop(batch: Batch) -> None:
    """Slurm signals the batch job, also if phasewalk was killed."""
    one = batch.job(1, LASTS, kind="production", stop_file="stop")
    place = batch.write([one], Plan(Need(minutes=60)))
    script = (place / batches.SCRIPT).read_text()
    assert "#SBATCH --no-requeue\n#SBATCH --signal=B:USR1@300\n" in script
    process = batch.start(place)
    until(begun(one))
    process.send_signal(signal.SIGUSR1)
    assert process.wait(20) == 0
    ended = jobs.finished(one)
    assert ended is not None
    assert ended.returncode == 0
    assert (one.directory / "stop").read_text() == workplace.OVER
    assert (one.directory / "restart").exists()


def test_who_has_asked_it_to_stop_before_is_not_forgotten(batch: Batch) -> None:
    one = batch.job(1, f"{LASTS}; time.sleep(1)", kind="production", stop_file="stop")
    process = batch.start(batch.write([one], Plan(Need())))
    until(begun(one))
    (one.directory / "stop").touch()
    until((one.directory / "restart").exists)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(20) == 0
    assert (one.directory / "stop").read_text() == ""


def test_a_run_that_goes_on_is_not_started_twice_nor_are_its_files_removed(batch: Batch) -> None:
    """As by `scontrol requeue`, or by an option of the site."""
    one = batch.job(1, f"{LASTS}", kind="production", stop_file="stop")
    place = batch.write([one], Plan(Need()))
    process = batch.start(place)
    until(begun(one))
    (one.directory / "trajectory").touch()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert batch.start(place).wait(20) == 0
    assert jobs.finished(one) is None
    assert (one.directory / "trajectory").exists()
    assert not (one.directory / "restart").exists()
