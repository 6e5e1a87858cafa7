"""Jobs mode over a real Slurm: what may happen to jobs, to nodes, to the controller, to the driver.

The same cases as over the played one (tests/batch/test_jobs_mode.py).
"""

import os
import re
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from helpers.slurm import Cluster, started
from phasewalk.batch import JobsLauncher, Refused, Slurm, batches
from phasewalk.cluster import PlaceSettings, SiteSettings
from phasewalk.files import set_aside
from phasewalk.jobs import Event, Finished, Job, Kind, Started, done_before

PROGRAM = """\
import os, pathlib, sys, time
with open(sys.argv[1], 'a') as starts:
    starts.write(sys.argv[2] + '\\n')
print('begun', flush=True)
"""
LABEL = PlaceSettings(partition="cpu", memory_GB=0.3, time_min=1)


@dataclass
class Site:
    """Jobs on a real Slurm, which write down that they start."""

    cluster: Cluster
    folder: Path
    place: PlaceSettings = LABEL
    max_jobs: int = 8
    seen: list[Event] = field(default_factory=list)

    @property
    def launcher(self) -> JobsLauncher:
        site = SiteSettings(site="test", max_jobs=self.max_jobs, pack_min=0, default=self.place)
        slurm = Slurm({**os.environ, **self.cluster.env})
        return JobsLauncher(
            site.model_copy(update={"poll_s": 0.5}), slurm, self.folder / "batch jobs"
        )

    def job(self, name: str, program: str = "", kind: Kind = "label") -> Job:
        argv = (sys.executable, "-S", "-c", PROGRAM + textwrap.dedent(program))
        place = self.folder / "work" / name
        return Job(name, (*argv, str(self.folder / "starts"), name), place, kind)

    def run(
        self, members: list[Job], during: Callable[[Event], None] = lambda event: None
    ) -> dict[str, Finished]:
        """Run jobs; those of an earlier process are taken over."""
        found: dict[str, Finished] = {}
        with closing(self.launcher.session()) as session:
            for job in members:
                if (done := done_before(job)) is not None:
                    found[job.name] = done
                elif not session.resume(job):
                    set_aside(job.directory, "interrupted")
                    session.add(job)
            for event in session.events():
                self.seen.append(event)
                if isinstance(event, Finished):
                    found[event.job.name] = event
                during(event)
        return found

    def starts(self, name: str) -> int:
        path = self.folder / "starts"
        return path.read_text().split("\n").count(name) if path.exists() else 0

    def wait_for_start(self, name: str) -> None:
        """Until the job's program runs: the queue says so a moment before it does."""
        limit = time.monotonic() + 60
        while not self.starts(name):
            assert time.monotonic() < limit, "waited too long"
            time.sleep(0.1)


@pytest.fixture
def site(cluster: Cluster, tmp_path: Path) -> Iterator[Site]:
    yield Site(cluster, tmp_path)
    cluster.run("scancel", "--user=root")
    cluster.wait_for("idle", *cluster.names)


def at(kind: type[Event], name: str, action: Callable[[], None]) -> Callable[[Event], None]:
    """Something that happens once, at the first event of this kind of a job."""
    done: list[bool] = []

    def during(event: Event) -> None:
        if isinstance(event, kind) and event.job.name == name and not done:
            done.append(True)
            action()

    return during


def test_names_with_blanks_and_quotes_and_words_that_a_shell_would_read(site: Site) -> None:
    odd = 'it\'s "a" $HOME `id`; # %j'
    site.folder = site.folder / odd
    site.folder.mkdir()
    site.place = LABEL.model_copy(update={"environment": {"ODD": odd}})
    job = site.job("copy", "print(os.environ['ODD'], sys.argv[3]); print(os.getcwd())")
    end = site.run([replace(job, argv=(*job.argv, odd))])["copy"]
    end.require_success()
    shown = (end.directory / Finished.STDOUT).read_text()
    assert shown == f"begun\n{odd} {odd}\n{site.folder}/work/copy\n"


def test_a_driver_that_was_killed_takes_over(site: Site) -> None:
    """SIGKILL while jobs run and wait; the next driver starts none of them again."""
    names = [f"label-{i}" for i in range(8)]
    members = [site.job(name, "time.sleep(6)") for name in names]
    pid = os.fork()
    if not pid:  # the driver
        with suppress(BaseException):
            site.run(members)
        os._exit(0)
    deadline = time.monotonic() + 30
    while sum(map(site.starts, names)) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert sum(map(site.starts, names)) >= 2
    found = site.run(members)
    assert {name: end.returncode for name, end in found.items()} == dict.fromkeys(names, 0)
    assert {name: site.starts(name) for name in names} == dict.fromkeys(names, 1)


def test_a_driver_killed_between_sbatch_and_its_number(site: Site) -> None:
    job = site.job("label-1", "time.sleep(3)")
    submit = Slurm.submit

    class Dies(Slurm):
        def submit(self, script: Path) -> str:
            submit(self, script)
            raise KeyboardInterrupt

    launcher = replace(site.launcher, scheduler=Dies({**os.environ, **site.cluster.env}))
    session = launcher.session()
    session.add(job)
    with pytest.raises(KeyboardInterrupt):
        next(session.events())
    assert list(launcher.folder.glob("*/submitted.json")) == []
    assert site.run([job])["label-1"].returncode == 0
    assert site.starts("label-1") == 1


def test_scancel_by_hand(site: Site) -> None:
    one, two = site.job("label-1", "time.sleep(60)"), site.job("label-2", "time.sleep(3)")

    def cancel() -> None:
        mark = batches.mark_of(one.directory)
        assert mark is not None
        site.cluster.run("scancel", f"--name={mark.batch}")

    found = site.run([one, two], at(Started, "label-1", cancel))
    assert (found["label-1"].returncode, found["label-1"].why) == (
        *(143, "cancelled by hand (scancel)"),
    )
    assert found["label-2"].returncode == 0


def test_over_the_time_limit_and_over_the_memory_limit(site: Site) -> None:
    slow = site.job("label-1", "time.sleep(300)")
    large = site.job("label-2", "x = bytearray(600_000_000)\ntime.sleep(30)")
    mpi = replace(large, name="label-3", directory=large.directory.with_name("label-3"))
    found = site.run([slow, large, replace(mpi, mpiexec=("mpiexec",))])
    assert found["label-1"].returncode is None
    assert found["label-1"].why == (
        "stopped at the time limit of its batch job, 1 min; raise time_min of label in the site "
        "file"
    )
    said = r"killed for memory: 0\.\d+ of 0\.3 GB; raise memory_GB of label in the site file"
    for name in ("label-2", "label-3"):
        assert re.fullmatch(said, found[name].why), found[name]
    # A batch step that is killed so is put back into the queue by Slurm itself, once.
    assert (site.starts("label-1"), site.starts("label-2") <= 2) == (1, True)


@pytest.mark.parametrize("requeue", [True, False])
def test_a_lost_node(site: Site, requeue: bool) -> None:
    """Slurm starts the batch job again elsewhere; without that, phasewalk submits it again."""
    options = [] if requeue else ["--no-requeue"]
    site.place = LABEL.model_copy(update={"options": options, "time_min": 5.0})
    job = site.job("label-1", "time.sleep(0 if os.path.exists('../lost') else 120)")
    lost: list[str] = []

    def lose() -> None:
        site.wait_for_start("label-1")
        node = site.cluster.run("squeue", "--noheader", "--format=%N").strip()
        (job.directory.parent / "lost").touch()
        lost.append(node)
        site.cluster.lose_node(node)

    try:
        end = site.run([job], at(Started, "label-1", lose))["label-1"]
        assert end.returncode == 0, end
        assert site.starts("label-1") == 2
        kept = job.directory.with_name("label-1.lost-1").exists()
        assert kept is not requeue
    finally:
        site.cluster.start_node(lost[0])
        site.cluster.wait_for("idle", *site.cluster.names)


def test_a_controller_that_is_restarted(site: Site) -> None:
    """Meanwhile squeue and sbatch fail; jobs go on, new ones wait."""
    site.max_jobs = 2
    members = [site.job(f"label-{i}", "time.sleep(5)") for i in range(6)]
    down: list[float] = []

    def during(event: Event) -> None:
        if isinstance(event, Started) and not down:
            down.append(time.monotonic())
            site.cluster.stop_controller()
        if len(down) == 1 and time.monotonic() - down[0] > 8:
            down.append(0.0)
            site.cluster.start_controller()

    found = site.run(members, during)
    assert len(down) == 2
    assert {end.returncode for end in found.values()} == {0}
    assert [site.starts(job.name) for job in members] == [1] * 6


def test_a_partition_that_is_not_there(site: Site) -> None:
    site.place = LABEL.model_copy(update={"partition": "nowhere"})
    with pytest.raises(Refused, match="nvalid partition"):
        site.run([site.job("label-1")])


def test_a_full_queue(tmp_path: Path) -> None:
    """Slurm takes four jobs, and those that have ended count for a while; sbatch itself waits."""
    with started(tmp_path / "slurm", nodes=1, gpus=0, max_jobs=4, min_job_age_s=2) as cluster:
        site = Site(cluster, tmp_path)
        members = [site.job(f"label-{i}", "time.sleep(1)") for i in range(6)]
        found = site.run(members)
        assert {end.returncode for end in found.values()} == {0}
        assert [site.starts(job.name) for job in members] == [1] * 6


def test_labels_of_a_batch_job_run_side_by_side(site: Site) -> None:
    """Each waits for the other, in a step of its own."""
    meets = """
        place = pathlib.Path('..') / ('here-' + sys.argv[2]); place.touch()
        while len(list(pathlib.Path('..').glob('here-*'))) < 2: time.sleep(0.1)
        print(os.environ['SLURM_STEP_ID'])
    """
    for memory_GB in (0.2, None):
        site.place = PlaceSettings(partition="cpu", memory_GB=memory_GB, time_min=1)
        members = [site.job(f"label-{i}-{memory_GB}", meets) for i in (1, 2)]
        launcher = site.launcher
        launcher.times.add(members[0], 1.0)  # so that they are known to be short
        settings = {"max_jobs": 1, "pack_cores": 2, "pack_min": 5.0}
        wide = replace(launcher, site=launcher.site.model_copy(update=settings))
        found = {}
        with closing(wide.session()) as session:
            for job in members:
                session.add(replace(job, timeout_s=40.0))
            for event in session.events():
                if isinstance(event, Finished):
                    found[event.job.name] = (event.returncode, event.last_lines())
        assert {code for code, _ in found.values()} == {0}, found
        for path in site.folder.glob("work/here-*"):
            path.unlink()


def test_gpus_are_those_of_the_batch_job(site: Site) -> None:
    site.place = PlaceSettings(partition="gpu", gpus=1, memory_GB=0.3)
    shows = "print(os.environ.get('CUDA_VISIBLE_DEVICES'))"
    train = site.job("train", shows, "train")
    segment = replace(site.job("segment", shows, "segment"), mpiexec=("mpiexec",), ranks=2)
    found = site.run([train, segment])
    shown = {n: (end.directory / Finished.STDOUT).read_text() for n, end in found.items()}
    assert shown["train"] in ("begun\n0\n", "begun\n1\n")
    # both ranks write into one file, perhaps into one line
    assert shown["segment"].replace("begun", " ").split() in (["0", "0"], ["1", "1"])
