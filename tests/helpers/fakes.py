"""Small crystals, labels, campaign files, and a launcher that starts nothing."""

import os
import shutil
import textwrap
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk

from phasewalk.jobs import Event, Finished, Job, Running, Started, finished, record_end
from phasewalk.labels.label import Label, label_key
from phasewalk.labels.levels import Level
from phasewalk.moment import NOTHING, Seen

ROOT = Path(__file__).parents[2]
MIL53 = ROOT / "examples/mil53_al/mil53_al.extxyz"
LEVEL = Level(
    "GFN1-xTB", f"tblite {version('tblite')}", {"electronic_temperature_K": 300.0}, cell_multiple=4
)


def crystal(name: str = "NaCl", a: float = 5.64) -> Atoms:
    """Eight atoms, four primitive cells."""
    atoms: Atoms = bulk(name, "rocksalt", a=a, cubic=True)
    return atoms


def label(atoms: Atoms | None = None, *, at: Level = LEVEL, **values: Any) -> Label:
    """A label with made-up numbers, or with those that are given."""
    atoms = crystal() if atoms is None else atoms
    rng = np.random.default_rng(len(atoms))
    forces = rng.normal(size=(len(atoms), 3))
    defaults: dict[str, Any] = {
        "key": label_key(atoms, at),
        "atoms": atoms,
        "energy": -3.0 * len(atoms),
        "forces": forces - forces.mean(axis=0),
        "stress": rng.normal(size=6) * 1e-3,
        "level": at.key,
        "origin": {"system": "salt", "round": 0, "index": 0},
        "seconds": 0.25,
    }
    return Label(**{**defaults, **values})


def write_campaign(
    folder: Path, text: str = "", structures: Mapping[str, Atoms] | None = None
) -> Path:
    """A campaign file beside its structures (salt.extxyz where none are given)."""
    for name, atoms in (structures or {"salt": crystal()}).items():
        ase.io.write(folder / f"{name}.extxyz", atoms)
    path = folder / "campaign.yaml"
    path.write_text(textwrap.dedent(text) or SALT)
    return path


SALT = """\
campaign: salt
systems:
  salt:
    structure: salt.extxyz
    walkers: 2
    ensemble: npt
    plumed: |
      vol: VOLUME
      METAD ARG=vol SIGMA=0.002 HEIGHT=0.5 PACE=20 LABEL=metad FILE=mine
      PRINT ARG=vol STRIDE=10 FILE=COLVAR
"""


def stage(job: Job) -> None:
    """What a launcher does before it starts a program."""
    job.directory.mkdir(parents=True, exist_ok=True)
    for name, content in job.inputs.items():
        (job.directory / name).parent.mkdir(parents=True, exist_ok=True)
        (job.directory / name).write_bytes(content)
    for name, target in job.links.items():
        (job.directory / name).symlink_to(os.path.relpath(target, job.directory))
    for name, source in job.copies.items():
        shutil.copyfile(source, job.directory / name)
    (job.directory / Finished.STDOUT).touch()
    (job.directory / Finished.STDERR).touch()


@dataclass
class FakeLauncher:
    """Plays each job instead of running its program; obeys the launcher's contract.

    Attributes:
        play: does the program's work in the job's directory; its exit code, None for a time-out.
        takes: seconds of a job, on a clock of its own; None: one job after another, 0.5 s each.
        watch: called with each running job and its seconds before each of its signs of life.
        here: whether its jobs run on this machine.
        walkers: maximum number of a launch.
        walker_gpus: number of GPUs of a launch.
        jobs: what was started.
        stopped: those that were running when the session was closed, or that were stopped.
    """

    play: Callable[[Job], int | None] = lambda job: 0
    cores: int = 2
    takes: Callable[[Job], float] | None = None
    watch: Callable[[Job, float], None] = lambda job, seconds: None
    here: bool = True
    scratch: Path | None = None
    walkers: int | None = None
    walker_gpus: int | None = None
    jobs: list[Job] = field(default_factory=list)
    stopped: list[Job] = field(default_factory=list)

    def session(self) -> "FakeSession":
        """Begin a session."""
        return FakeSession(self)


@dataclass
class FakeSession:
    """Jobs side by side on a clock of its own, which goes from one event to the next."""

    launcher: FakeLauncher
    waiting: list[Job] = field(default_factory=list)
    running: dict[Path, tuple[Job, float]] = field(default_factory=dict)
    due: list[tuple[type[Event], Path]] = field(default_factory=list)
    clock: float = 0.0
    cores: dict[Path, int] = field(default_factory=dict)

    def add(self, job: Job) -> None:
        """Take a job."""
        self.waiting.append(job)

    def resume(self, job: Job) -> bool:
        """Nothing outlives its process."""
        return False

    def events(self) -> Generator[Event]:
        """Started, signs of life of all that run, and the end of the one that ends first."""
        while self.waiting or self.running:
            while self.waiting and self._fits(self.waiting[0]):
                yield Started(self._start(self.waiting.pop(0)))
            if not self.due:
                ends = min(self._end(*one) for one in self.running.values())
                self.clock = max(self.clock, min(ends, self.clock + 1.0))
                self.due = [(kind, place) for kind in (Running, Finished) for place in self.running]
            kind, place = self.due.pop(0)
            if place in self.running:
                job, begun = self.running[place]
                if kind is Running:
                    self.launcher.watch(job, self.clock - begun)
                    yield Running(job, self.clock - begun)
                elif self._end(job, begun) <= self.clock:
                    yield self._finish(job, self._end(job, begun) - begun)

    def narrow(self, directory: Path, cores: int) -> None:
        """A running job needs fewer cores."""
        self.cores[directory] = cores

    def stop(self, directory: Path) -> None:
        """End a job."""
        self.waiting = [job for job in self.waiting if job.directory != directory]
        if directory in self.running:
            self.launcher.stopped.append(self.running.pop(directory)[0])

    def close(self) -> None:
        """End what runs."""
        self.waiting.clear()
        for directory in list(self.running):
            self.stop(directory)

    def _fits(self, job: Job) -> bool:
        if self.launcher.takes is None:
            return not self.running
        busy = sum(
            self.cores.get(place, 0 if other.background else other.cores)
            for place, (other, _) in self.running.items()
        )
        return job.background or not busy or busy + job.cores <= self.launcher.cores

    def _start(self, job: Job) -> Job:
        stage(job)
        self.launcher.jobs.append(job)
        self.running[job.directory] = job, self.clock
        return job

    def _finish(self, job: Job, seconds: float) -> Finished:
        code = self.launcher.play(job)
        del self.running[job.directory]
        record_end(job.directory, code, seconds, "nowhere")
        ended = finished(job)
        assert ended is not None
        return ended

    def _end(self, job: Job, begun: float) -> float:
        return begun + (0.5 if self.launcher.takes is None else self.launcher.takes(job))


@dataclass
class Watcher:
    """An observer that remembers."""

    begun: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    advanced: list[float] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    beside: list[Event] = field(default_factory=list)

    def begin(self, round: int, stage: str, total: float, unit: str) -> None:
        """Remember the stage."""
        self.begun.append(f"{round} {stage}")

    def advance(self, done: float, detail: str, seen: Seen = NOTHING) -> None:
        """Remember how far."""
        self.advanced.append(done)
        self.seen.append(seen)

    def see(self, event: Event, *, beside: bool = False) -> None:
        """Remember the event."""
        self.events.append(event)
        if beside:
            self.beside.append(event)

    def say(self, line: str) -> None:
        """Remember the line."""
        self.lines.append(line)
