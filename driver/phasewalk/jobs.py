"""Jobs and their results: data only.

A module that needs an engine makes a `Job` and reads a `Finished`; a `Launcher` runs the job in a
`Session`, to which jobs can be added while others run and which yields events as they happen.

The result of a job is in its directory: its output, and `finished.json`, which is written when the
program has ended. `finished` reads it, no matter which process started the job.
"""

import contextlib
import json
import re
import shutil
import signal
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from .errors import EngineFailed, ParseError
from .files import read, write_file
from .where import Where, to_json

FULL_BYTES = 2**20
"""Free disk space below which a program's output, and so its error message, may be lost."""
ENDED = "finished.json"
"""File in a job's directory, written when its program has ended: return code, seconds, host, and
`Where` if it ran on a site."""
Kind = Literal[
    "label", "atom", "segment", "train", "compile", "evaluate", "colvars", "check", "build",
    "production", "other"
]  # fmt: skip
"""Kinds of work, for which a launcher may use different machines or limits."""


@dataclass(frozen=True)
class Job:
    """One program to run in a directory of its own, and the resources that it needs.

    Attributes:
        name: short and unique in a session; used in messages and file names.
        argv: program and arguments, without an MPI launcher; never a shell command line.
        directory: working directory, made and filled with `inputs` by the launcher.
        kind: kind of work.
        inputs: file name → content of small files, which are written before the start.
        links: file name → file of large files, which are linked before the start.
        copies: file name → file of files that the program appends to, which are copied.
        grows: names of the inputs that the program appends to.
        env: variables to add to the environment of the launcher.
        mpiexec: the MPI launcher of the program's MPI library, without the number of ranks; empty
            for a program that does not use MPI. The launcher puts it, or that of its cluster,
            before `argv`.
        nodes: number of machines.
        ranks: number of MPI ranks on each machine.
        threads: number of threads of each rank.
        gpus: number of GPUs on each machine.
        memory_GB: memory on each machine; None if it is not known.
        background: it reserves no cores; on this machine it shares those of other jobs.
        timeout_s: time limit, after which it is stopped and counts as failed; None for no limit.
        stop_file: name of a file in its directory at which the program stops by itself, so that
            another job can go on in this directory. The launcher writes it some minutes before the
            time of its machines is over; it never starts such a job again, nor cleans or renames
            its directory. Empty for any other job.
    """

    name: str
    argv: tuple[str, ...]
    directory: Path
    kind: Kind = "other"
    inputs: Mapping[str, bytes] = field(default_factory=dict)
    links: Mapping[str, Path] = field(default_factory=dict)
    copies: Mapping[str, Path] = field(default_factory=dict)
    grows: frozenset[str] = frozenset()
    env: Mapping[str, str] = field(default_factory=dict)
    mpiexec: tuple[str, ...] = ()
    nodes: int = 1
    ranks: int = 1
    threads: int = 1
    gpus: int = 0
    memory_GB: float | None = None
    background: bool = False
    timeout_s: float | None = None
    stop_file: str = ""

    @property
    def cores(self) -> int:
        """Number of cores that it occupies."""
        return self.nodes * self.ranks * self.threads

    @property
    def command(self) -> tuple[str, ...]:
        """Program and arguments on this machine, with the MPI launcher."""
        if not self.mpiexec:
            return self.argv
        return (*self.mpiexec, "-n", str(self.nodes * self.ranks), *self.argv)


@dataclass(frozen=True)
class Queued:
    """The job waits in the queue of a cluster: sent each time the queue is asked.

    Attributes:
        job: the job.
        seconds: since it was put into the queue.
        why: why it waits, the scheduler's word, or that there is no answer.
        where: in which queue; None, as in all events, if there is no site.
    """

    job: Job
    seconds: float
    why: str = ""
    where: Where | None = None


@dataclass(frozen=True)
class Started:
    """The job's program has been started."""

    job: Job
    where: Where | None = None


@dataclass(frozen=True)
class Running:
    """The job's program is running; its output may be partial.

    Sent about once a second, and from a cluster each time the queue is asked.
    """

    job: Job
    seconds: float
    where: Where | None = None


@dataclass(frozen=True)
class Finished:
    """The job's program has ended.

    Attributes:
        job: the job.
        returncode: exit code of the program, negative for a signal; None if it was stopped at its
            time limit.
        seconds: wall time.
        host: name of the machine on which it ran.
        why: why it was ended from outside, and what to do, if the launcher knows: "killed for
            memory: 62 of 64 GB; raise memory_GB of label".
        where: where on a site it ran.
        again: of a job with a `stop_file`: it was lost or preempted, which says nothing about it.
    """

    job: Job
    returncode: int | None
    seconds: float
    host: str = ""
    why: str = ""
    where: Where | None = field(default=None, compare=False)
    again: bool = field(default=False, compare=False)

    STDOUT = "stdout.txt"
    STDERR = "stderr.txt"

    @property
    def directory(self) -> Path:
        """The job's directory."""
        return self.job.directory

    @property
    def cores(self) -> int:
        """Number of cores that it occupied, as the launcher says, or else as the job asks for."""
        return self.where.cores if self.where is not None and self.where.cores else self.job.cores

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
        """Return self; raises EngineFailed with the last lines of output if the job failed."""
        if self.returncode == 0:
            return self
        if self.why:
            what = f"was {self.why}"
        elif self.returncode is None:
            what = f"was stopped at its time limit of {self.job.timeout_s:g} s"
        else:
            found = death(self.returncode)
            what = f"ended with code {self.returncode}" + (f" ({found.name})" if found else "")
        raise EngineFailed(
            f"{self.job.name} {what}: {self.last_lines()} (all files are in {self.directory})"
        )


Event = Queued | Started | Running | Finished


class Session(Protocol):
    """Runs the jobs that are added to it, as many at a time as its cores allow.

    Use it with `contextlib.closing`, which stops running jobs at the end.
    """

    def add(self, job: Job) -> None:
        """Add a job; it is started during the iteration over `events`."""

    def resume(self, job: Job) -> bool:
        """Add a job that an earlier process started in its directory, and whose end is not known.

        It is not started again; its events are as if this session had started it. Returns False,
        and does nothing, if no such job is left or it is not exactly this one.
        """

    def events(self) -> Generator[Event]:
        """Yield events until no job is waiting or running.

        Jobs may be added meanwhile. No event is lost if the iteration is ended early and `events`
        is called again.
        """

    def narrow(self, directory: Path, cores: int) -> None:
        """Reduce the number of cores of the running job in a directory."""

    def stop(self, directory: Path) -> None:
        """Stop or cancel the job in a directory; it has no further events."""

    def close(self) -> None:
        """Stop running jobs and cancel waiting ones."""


class Launcher(Protocol):
    """Runs jobs; the same interface for a laptop, a cluster and a test."""

    @property
    def cores(self) -> int | None:
        """Maximum number of cores in use at a time; None if each job has as many as it asks for."""

    @property
    def here(self) -> bool:
        """Whether its jobs run on the machine of this process."""

    @property
    def scratch(self) -> Path | None:
        """Folder for temporary folders that its jobs see; None: that of the system."""

    @property
    def walkers(self) -> int | None:
        """Maximum number of walkers of one launch that the site file gives; None: none."""

    @property
    def walker_gpus(self) -> int | None:
        """Number of GPUs of a launch of walkers, on all its nodes; None if it is not known."""

    def session(self) -> Session:
        """Open a session, without jobs."""


@dataclass(frozen=True)
class Death:
    """The signal that ended a program; `own` if the program caused it itself (a crash)."""

    number: int
    name: str
    own: bool


_PRINTED_SIGNAL = re.compile(r"signal:? (\d{1,2})\b")
_OWN = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL")


def death(code: int, printed: Sequence[str] = ()) -> Death | None:
    """The signal that ended a program or one of its ranks; None if no signal did.

    Args:
        code: exit code of the program: 128 + signal (shells) or −signal (Python).
        printed: its last lines, in which MPI launchers name the signal of a rank; the exit code
            of MPICH's launcher is then the signal itself.
    """
    numbers = [int(match[1]) for line in printed if (match := _PRINTED_SIGNAL.search(line))]
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
    why: str = ""
    where: Where | None = None


def record_end(
    directory: Path,
    returncode: int | None,
    seconds: float,
    host: str,
    *,
    why: str = "",
    where: Where | None = None,
) -> None:
    """Write atomically how the program in a directory has ended."""
    ended = {"returncode": returncode, "seconds": round(seconds, 6), "host": host}
    given = {"why": why} if why else {}  # as `supervise` writes it
    placed = {"where": to_json(where)} if where is not None else {}
    write_file(directory / ENDED, json.dumps({**ended, **given, **placed}).encode())


def finished(job: Job) -> Finished | None:
    """The end of a job, read from its directory.

    Returns None if its program has not ended or the record is damaged.
    """
    ended = _end_of(job.directory)
    if ended is None:
        return None
    return Finished(job, ended.returncode, ended.seconds, ended.host, ended.why, ended.where)


def seconds_of(directory: Path) -> float | None:
    """Wall time of the program that ran in a directory; None if it is not recorded there."""
    ended = _end_of(directory)
    return None if ended is None else ended.seconds


def _end_of(directory: Path) -> _Ended | None:
    """What `record_end` wrote in a directory; None if it cannot be read."""
    try:
        return read(directory / ENDED, _Ended)
    except ParseError:
        return None


def done_before(job: Job) -> Finished | None:
    """An earlier successful run of exactly this job, by any process; None if there is none."""
    found = finished(job)
    if found is None or found.returncode != 0 or not same_inputs(job, job.directory):
        return None
    ended = (job.directory / ENDED).stat().st_mtime_ns
    changed = any(path.stat().st_mtime_ns > ended for path in job.links.values())
    return None if changed else found


def same_inputs(job: Job, place: Path) -> bool:
    """Whether the directory of an earlier attempt has exactly the input files of this job.

    Files that its program appends to begin with their content.
    """

    def same(name: str, text: bytes) -> bool:
        content = (place / name).read_bytes()
        return content.startswith(text) if name in job.grows else content == text

    try:
        written = all(same(name, text) for name, text in job.inputs.items())
        linked = all(_same_file(place / name, path) for name, path in job.links.items())
    except OSError:
        return False
    return written and linked


def _same_file(kept: Path, source: Path) -> bool:
    """Whether a file of an earlier attempt (a link or a copy) equals the source."""
    if kept.samefile(source):
        return True
    return kept.stat().st_size == source.stat().st_size and kept.read_bytes() == source.read_bytes()


def submit(launcher: Launcher, jobs: Sequence[Job]) -> Generator[Event]:
    """Run jobs in a session of their own and yield events until all have ended.

    Closing the generator, or an exception in it, stops the running jobs.
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
