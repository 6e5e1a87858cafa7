"""What is to be run, and what became of it: data only.

A noun that needs an engine makes a `Job` and reads a `Finished`; a `Launcher` turns one into the
other. It opens a `Session`, to which jobs are added while others run and which yields events in the
order in which they happen, so that progress can be shown and a result used as soon as it is there.

What became of a job is in its directory: its output, and `finished.json`, which is written when the
program has ended. `finished` reads it back, whoever started the job.
"""

import contextlib
import json
import re
import shutil
import signal
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from .errors import EngineFailed, ParseError
from .files import read, write_file

FULL_BYTES = 2**20
"""A disk with less than this left takes no output, and so no reason, of a program that fails."""
ENDED = "finished.json"
"""In a job's directory once its program has ended: return code, seconds, host."""
Kind = Literal[
    "label", "atom", "segment", "train", "compile", "evaluate", "colvars", "check", "build", "other"
]
"""Kinds of work: a launcher may have other machines, or other limits, for each."""


@dataclass(frozen=True)
class Job:
    """One program to run in a directory of its own: what it is and what it needs.

    Attributes:
        name: short and unique among the jobs of a session, for people and for file names.
        argv: program and arguments, without an MPI launcher; never a shell line.
        directory: where it runs; made (and filled with `inputs`) by the launcher.
        kind: of work.
        inputs: file name → content, written before the start: small texts.
        links: file name → file that it stands for, linked before the start: whatever is large.
        copies: the same of files that the program appends to: copied.
        env: added to the environment of the launcher.
        mpiexec: the MPI launcher that belongs to the program's MPI library, without a number of
            ranks; empty for a program that is started without one. The launcher puts it before
            `argv`, or what its cluster has in place of it.
        nodes: number of machines.
        ranks: number of MPI ranks on each.
        threads: number of threads of each rank.
        gpus: number of GPUs on each machine.
        memory_GB: on each machine; None if it is not known.
        background: nothing waits for its cores: on this machine it shares those of others.
        timeout_s: it is stopped, and counts as failed, after this time; None for no limit.
    """

    name: str
    argv: tuple[str, ...]
    directory: Path
    kind: Kind = "other"
    inputs: Mapping[str, bytes] = field(default_factory=dict)
    links: Mapping[str, Path] = field(default_factory=dict)
    copies: Mapping[str, Path] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    mpiexec: tuple[str, ...] = ()
    nodes: int = 1
    ranks: int = 1
    threads: int = 1
    gpus: int = 0
    memory_GB: float | None = None
    background: bool = False
    timeout_s: float | None = None

    @property
    def cores(self) -> int:
        """How many cores it occupies."""
        return self.nodes * self.ranks * self.threads

    @property
    def command(self) -> tuple[str, ...]:
        """Program and arguments as they are started on this machine, with the MPI launcher."""
        if not self.mpiexec:
            return self.argv
        return (*self.mpiexec, "-n", str(self.nodes * self.ranks), *self.argv)


@dataclass(frozen=True)
class Started:
    """The job's program runs now."""

    job: Job


@dataclass(frozen=True)
class Running:
    """A sign of life, about once a second: the job's directory may hold partial output."""

    job: Job
    seconds: float


@dataclass(frozen=True)
class Finished:
    """The job's program has ended.

    Attributes:
        job: what was run.
        returncode: of the program; negative for a signal; None when it ran past its time limit.
        seconds: wall time.
        host: name of the machine on which it ran.
    """

    job: Job
    returncode: int | None
    seconds: float
    host: str = ""

    STDOUT = "stdout.txt"
    STDERR = "stderr.txt"

    @property
    def directory(self) -> Path:
        """The job's directory."""
        return self.job.directory

    def last_lines(self, count: int = 3) -> str:
        """The last lines that the program printed (its error output first), joined by ' | '."""
        for name in (self.STDERR, self.STDOUT):
            path = self.directory / name
            if path.is_file():
                text = path.read_text(errors="replace", encoding="utf-8")
                lines = [line.strip() for line in text.splitlines()]
                lines = [line for line in lines if line and not line.startswith("+++")]
                if lines:  # PLUMED frames its start with +++
                    return " | ".join(lines[-count:])
        full = shutil.disk_usage(self.directory).free < FULL_BYTES
        return "(no output: the disk is full)" if full else "(no output)"

    def require_success(self) -> "Finished":
        """Return self, or raise EngineFailed that names what, where, and the last lines."""
        if self.returncode == 0:
            return self
        if self.returncode is None:
            what = f"ran past its limit of {self.job.timeout_s:g} s and was stopped"
        else:
            what = f"ended with code {self.returncode}{_signal(self.returncode)}"
        raise EngineFailed(
            f"{self.job.name} {what}: {self.last_lines()} (all files are in {self.directory})"
        )


Event = Started | Running | Finished


class Session(Protocol):
    """Runs the jobs that are added to it, as many at once as its cores allow.

    Use it with `contextlib.closing`: what runs ends with the session.
    """

    def add(self, job: Job) -> None:
        """Take a job; it is started while events are asked for."""
        ...

    def events(self) -> Generator[Event]:
        """Yield events until no job waits or runs.

        Jobs may be added meanwhile. No event is lost if this is left early and called again.
        """
        ...

    def narrow(self, directory: Path, cores: int) -> None:
        """The running job of a directory needs no more than these cores from now on."""
        ...

    def stop(self, directory: Path) -> None:
        """End the job of a directory, or do not start it; it has no further event."""
        ...

    def close(self) -> None:
        """End what runs, and start nothing more."""
        ...


class Launcher(Protocol):
    """Runs jobs. A laptop, a cluster and a test are the same code behind this one verb."""

    @property
    def cores(self) -> int:
        """How many cores may be busy at once."""
        ...

    def session(self) -> Session:
        """Begin a session; nothing is started yet."""
        ...


@dataclass(frozen=True)
class Observed:
    """A launcher that calls `each` at each event of its sessions."""

    launcher: Launcher
    each: Callable[[], None]

    @property
    def cores(self) -> int:
        """How many cores may be busy at once."""
        return self.launcher.cores

    def session(self) -> Session:
        """Begin a session of the launcher's."""
        return _ObservedSession(self.launcher.session(), self.each)


@dataclass(frozen=True)
class _ObservedSession:
    """See `Observed`."""

    session: Session
    each: Callable[[], None]

    def add(self, job: Job) -> None:
        self.session.add(job)

    def events(self) -> Generator[Event]:
        for event in self.session.events():
            self.each()
            yield event

    def narrow(self, directory: Path, cores: int) -> None:
        self.session.narrow(directory, cores)

    def stop(self, directory: Path) -> None:
        self.session.stop(directory)

    def close(self) -> None:
        self.session.close()


def _signal(code: int) -> str:
    """The signal that an exit code stands for, as shells count; empty for none."""
    found = death(code)
    return f" ({found.name})" if found else ""


@dataclass(frozen=True)
class Death:
    """The signal that a program died of; `own` where programs give it themselves (a crash)."""

    number: int
    name: str
    own: bool


_TOLD = re.compile(r"signal:? (\d{1,2})\b")
_OWN = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL")


def death(code: int, printed: Sequence[str] = ()) -> Death | None:
    """The signal that ended a program, or a rank of it; None if no signal did.

    Args:
        code: of the program: 128 + signal as shells count, negative as Python counts.
        printed: its last lines; MPI launchers name there the signal of a rank. MPICH's own exit
            code is then the signal itself.
    """
    numbers = [int(match[1]) for line in printed if (match := _TOLD.search(line))]
    if any("BAD TERMINATION" in line for line in printed):
        numbers.append(code)
    for number in (*numbers, code - 128 if code > 0 else -code):
        with contextlib.suppress(ValueError):
            name = signal.Signals(number).name
            return Death(number, name, name in _OWN)
    return None


@dataclass(frozen=True)
class _Ended:
    """How the program of a directory has ended, as its record says."""

    returncode: int | None
    seconds: float
    host: str


def record_end(directory: Path, returncode: int | None, seconds: float, host: str) -> None:
    """Write down how the program of a directory has ended: whole, or not at all."""
    ended = _Ended(returncode, round(seconds, 6), host)
    write_file(directory / ENDED, json.dumps(asdict(ended)).encode())


def finished(job: Job) -> Finished | None:
    """What became of a job, from the files in its directory alone.

    Returns None if its program has not ended, or if the record of that is damaged.
    """
    try:
        ended = read(job.directory / ENDED, _Ended)
    except ParseError:
        return None
    return Finished(job, ended.returncode, ended.seconds, ended.host)


def done_before(job: Job) -> Finished | None:
    """A run of exactly this job that has ended well, whoever started it; None if there is none."""
    found = finished(job)
    if found is None or found.returncode != 0 or not same_inputs(job, job.directory):
        return None
    ended = (job.directory / ENDED).stat().st_mtime_ns
    changed = any(path.stat().st_mtime_ns > ended for path in job.links.values())
    return None if changed else found


def same_inputs(job: Job, place: Path) -> bool:
    """Whether the directory of an earlier try holds exactly what this job would be given."""
    try:
        written = all((place / name).read_bytes() == text for name, text in job.inputs.items())
        linked = all(_same_file(place / name, path) for name, path in job.links.items())
    except OSError:
        return False
    return written and linked


def _same_file(kept: Path, source: Path) -> bool:
    """Whether a file of an earlier try (a link, or a copy) is the source, or equals it."""
    if kept.samefile(source):
        return True
    return kept.stat().st_size == source.stat().st_size and kept.read_bytes() == source.read_bytes()


def submit(launcher: Launcher, jobs: Sequence[Job]) -> Generator[Event]:
    """Run jobs in a session of their own; yield events until all are finished.

    Closing the generator, or an exception in it, stops what is still running.
    """
    with contextlib.closing(launcher.session()) as session:
        for job in jobs:
            session.add(job)
        yield from session.events()


def run(launcher: Launcher, job: Job) -> Finished:
    """Run one job in a session of its own and wait for its end."""
    with contextlib.closing(submit(launcher, [job])) as events:
        for event in events:
            if isinstance(event, Finished):
                return event
    raise EngineFailed(f"{job.name}: the launcher ended without a result")
