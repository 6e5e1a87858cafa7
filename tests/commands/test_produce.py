"""`phasewalk produce` and `cancel` as they are typed: a site's scripts, room, and soft stops."""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from helpers import fake_campaign, fake_engines
from helpers.fake_lammps import SETTINGS, Lammps
from helpers.fake_slurm import FakeSlurm
from helpers.fakes import FakeLauncher
from phasewalk import batch, engines
from phasewalk.batch import JobsLauncher
from phasewalk.cluster import PlaceSettings, SiteSettings
from phasewalk.commands import produce
from phasewalk.engines import Engines, here, plugin
from phasewalk.engines.discovery import Plumed
from phasewalk.jobs import Job
from phasewalk.producing import make, settings
from phasewalk.store import locking
from phasewalk.submitted import FOLDER

Run = Callable[..., tuple[int, str, str]]
SITE = (
    "site: lab\ndefault: {account: me, time_min: 60, gpus: 1}\nsegment: {partition: gpu, gpus: 4}\n"
)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learned")
    fake_campaign.make(folder / "a").run()
    return folder / "a/run"


@dataclass
class Place:
    """A production file, a site file, and a played Slurm."""

    folder: Path
    slurm: FakeSlurm

    @property
    def file(self) -> Path:
        return self.folder / "p.yaml"

    @property
    def root(self) -> Path:
        return self.folder / "p.production"

    def site(self, text: str) -> None:
        (self.folder / "lab.yaml").write_text(text)

    def play(self, job: Job) -> int:
        """What its jobs do: say which machine they are on, or run LAMMPS."""
        if job.name != "machine":
            return Lammps(make(settings.read(self.file), self.file, here()))(job)
        answer = {name: getattr(here(), name) for name in here().__dataclass_fields__}
        (job.directory / "machine.json").write_text(json.dumps(answer))
        return 0


@pytest.fixture
def place(learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    folder = tmp_path / "it's here"
    folder.mkdir()
    (folder / "p.yaml").write_text(json.dumps({**SETTINGS, "campaign": str(learned)}))
    kernel = tmp_path / "libplumedKernel.so"
    kernel.write_bytes(b"without")
    found: Engines = replace(fake_engines.engines(tmp_path), plumed=Plumed(kernel, "hand"))
    slurm = FakeSlurm(takes=lambda job: 1.0 if job.name == "machine" else 100.0, age_s=1e9)
    made = Place(folder, slurm)
    slurm.play = made.play
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(engines, "find", lambda settings, environ: found)
    monkeypatch.setattr(plugin, "ensure", lambda found, launcher, environ: found)
    monkeypatch.setattr(batch, "Slurm", lambda environ: slurm)
    monkeypatch.setattr(batch, "SystemClock", lambda: slurm)
    monkeypatch.setattr(
        batch,
        "jobs_launcher",
        lambda site, folder, environ: JobsLauncher(site, slurm, folder / FOLDER, clock=slurm),
    )
    made.site(SITE)
    return made


def started(out: str) -> str:
    return out.split("──── lab\n")[1]


def test_a_dry_run_shows_the_batch_script(run: Run, place: Place) -> None:
    place.site(f"{SITE}production: {{time_min: 1440, gpus: 8, prefix: [in, image]}}")
    code, out, err = run("produce", place.file, "--site", "lab", "--dry-run")
    assert (code, err) == (0, "")
    script = started(out)
    for option in ("partition=gpu", "account=me", "gres=gpu:1", "time=1440", "no-requeue"):
        assert f"#SBATCH --{option}\n" in script
    assert "#SBATCH --signal=B:USR1@300\n" in script
    assert "in image lmp -in production.lmp" in script.splitlines()[-2]
    assert "──── production.lmp" in out
    assert not place.root.exists()
    assert not place.slurm.jobs


def test_a_dry_run_of_a_step_needs_no_allocation(run: Run, place: Place) -> None:
    place.site(f"{SITE}mode: steps\nproduction: {{memory_GB: 32}}")
    code, out, err = run("produce", place.file, "--site", "lab", "--dry-run")
    assert (code, err) == (0, "")
    words = shlex.split(started(out))
    assert words[0] == "srun"
    assert {"--gres=gpu:1", "--mem=32000M", "--ntasks=1", "production.lmp"} <= set(words)


def test_a_dry_run_of_a_workstation(run: Run, place: Place) -> None:
    place.site("site: lab\nscheduler: none")
    code, out, err = run("produce", place.file, "--site", "lab", "--dry-run")
    assert (code, err) == (0, "")
    assert started(out).startswith("mpiexec -n 1 lmp -in production.lmp ")


def test_the_memory_is_that_of_the_site(run: Run, place: Place) -> None:
    """Not that of the machine on which the command is typed."""
    place.site(f"{SITE}production: {{memory_GB: 0.2}}")
    code, _, err = run("produce", place.file, "--site", "lab")
    assert code == 2
    assert "(walkers: 1, ranks: 1), and 0.2 are its memory_GB in the site file; use a " in err
    assert not place.slurm.jobs
    place.site(f"{SITE}production: {{memory_GB: 0.2, nodes: 2}}")  # but one rank
    assert run("produce", place.file, "--site", "lab")[0] == 2


def test_gpus_and_memory_are_those_of_all_nodes_of_a_production(place: Place) -> None:
    asked = settings.read(place.file)
    walkers = PlaceSettings(gpus=4, memory_GB=100)
    own = PlaceSettings(gpus=2, nodes=3)
    given = {"site": "lab", "default": PlaceSettings(gpus=1), "segment": walkers}
    there = SiteSettings(**given, production=own)
    room = produce._room(asked, there, None)  # as for --dry-run
    assert (room.cores, room.gpus, room.memory_GB) == (None, 6, 100)  # one rank is on one node
    four = asked.model_copy(update={"walkers": 4})
    assert produce._room(four, there, None).memory_GB == 300
    assert produce._room(four, SiteSettings(**given), None).gpus == 4
    on_gpus = FakeLauncher(cores=8, walker_gpus=2)
    assert produce._room(asked, SiteSettings(site="pc", scheduler="none"), on_gpus).gpus == 2
    here = produce._room(asked, None, on_gpus)
    assert (here.cores, here.gpus) == (8, 2)
    assert here.memory_GB


def test_to_the_end_in_the_queue(run: Run, place: Place) -> None:
    code, out, err = run("produce", place.file, "--site", "lab")
    assert (code, err) == (0, "")
    assert "walker-0: 100 of 100 steps" in out
    again = f"continue with: phasewalk produce {shlex.quote(str(place.file))} --site lab\n"
    assert out.endswith(again)
    assert place.slurm.started == ["machine", "production"]
    asked, job = place.slurm.jobs.values()
    assert "#SBATCH --time=20\n" in asked.text  # it starts earlier
    assert "#SBATCH --time=60\n" in job.text
    code, out, err = run("produce", place.file, "--site", "lab")
    assert (code, err, len(place.slurm.jobs)) == (0, "", 2)


def left(run: Run, place: Place, monkeypatch: pytest.MonkeyPatch, *, waits: bool) -> str:
    """Ctrl-C in a run whose job runs, or waits; what it says."""
    sleep = place.slurm.sleep

    def stopped(seconds: float) -> None:
        second = place.slurm.jobs.get("2")
        if second is not None and (waits or second.state == "RUNNING"):
            raise KeyboardInterrupt
        sleep(seconds)

    with monkeypatch.context() as patch:
        patch.setattr(place.slurm, "sleep", stopped)
        code, _, err = run("produce", place.file, "--site", "lab")
    assert code == 130
    return err


def test_ctrl_c_leaves_the_job_and_cancel_stops_it_softly(
    run: Run, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.slurm.takes = lambda job: 1.0 if job.name == "machine" else 1000.0
    said = left(run, place, monkeypatch, waits=False)
    assert f"Continue with: phasewalk produce {shlex.quote(str(place.file))} --site lab" in said
    cancel = f"stop it softly with: phasewalk cancel {shlex.quote(str(place.root))}"
    assert f"A job in the queue goes on; {cancel}" in said
    (one,) = place.slurm.running()
    sleep = place.slurm.sleep

    def stops(seconds: float) -> None:
        """LAMMPS looks for the file every few steps."""
        if (place.root / "production.stop").exists():
            for going in one.going:
                going.until = min(going.until, place.slurm.time + 5.0)
        sleep(seconds)

    with monkeypatch.context() as patch:
        patch.setattr(place.slurm, "sleep", stops)
        code, out, err = run("cancel", place.root)
    assert (code, err) == (0, "")
    assert out.startswith("job 2 was stopped; phasewalk produce goes on")
    assert (place.root / "walker-0.restart.end").exists()
    assert one.state == "COMPLETED"
    code, out, err = run("produce", place.file, "--site", "lab")
    assert (code, err) == (0, "")
    assert "walker-0 goes on at step 30" in out
    assert place.slurm.started == ["machine", "production", "production"]  # not asked again


def test_a_job_that_does_not_stop_is_cancelled(
    run: Run, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.slurm.takes = lambda job: 1.0 if job.name == "machine" else 3000.0
    left(run, place, monkeypatch, waits=False)
    before = place.slurm.time
    code, _, err = run("cancel", place.root)
    assert (code, err) == (0, "")
    assert place.slurm.jobs["2"].state == "CANCELLED"
    assert 300 <= place.slurm.time - before < 310


def test_a_job_that_waits_is_taken_out_of_the_queue(
    run: Run, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    left(run, place, monkeypatch, waits=True)
    assert place.slurm.jobs["2"].state == "PENDING"
    code, _, err = run("cancel", place.root)
    assert (code, err) == (0, "")
    assert place.slurm.jobs["2"].state == "CANCELLED"
    place.slurm.slots = 2
    assert run("produce", place.file, "--site", "lab")[0] == 0
    assert place.slurm.started == ["machine", "production"]


def test_cancel_stops_a_run_of_this_machine(run: Run, place: Place) -> None:
    assert run("produce", place.file, "--site", "lab")[0] == 0
    code, out, _ = run("cancel", place.root)
    assert (code, "it does not run, and nothing of it is in the queue" in out) == (0, True)
    assert not (place.root / "production.stop").exists()
    lock = locking.take(place.root)
    try:
        code, out, _ = run("cancel", place.root)
    finally:
        lock.release()
    assert (code, "asked to stop, with restart files" in out) == (0, True)
    assert (place.root / "production.stop").read_text() == ""


def test_steps_outside_of_an_allocation(run: Run, place: Place) -> None:
    place.site("site: lab\nmode: steps")
    code, out, err = run("produce", place.file, "--site", "lab")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no SLURM_JOB_ID" in err
    assert not place.root.exists()
