"""What is to be run, and what became of it: data only.

A noun that needs an engine makes a `Job` and reads a `Finished`; a `Launcher` turns one into the
other. Its one verb yields events in the order in which they happen, so that progress can be shown
and a result can be used as soon as it is there.
"""

import contextlib
import re
import shutil
import signal
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from .errors import EngineFailed

FULL_BYTES = 2**20
"""A disk with less than this left takes no output, and so no reason, of a program that fails."""


@dataclass(frozen=True)
class Job:
    """One program to run in a directory of its own.

    Attributes:
        name: short and unique among the jobs of one call, for people and for file names.
        argv: program and arguments; never a shell line.
        directory: where it runs; made (and filled with `inputs`) by the launcher.
        inputs: file name → content, written before the start.
        links: file name → file that it stands for, linked before the start.
        copies: the same of files that the program appends to: copied.
        env: added to the environment of the launcher.
        cores: how many cores it occupies.
        timeout_s: it is stopped, and counts as failed, after this time; None for no limit.
    """

    name: str
    argv: tuple[str, ...]
    directory: Path
    inputs: Mapping[str, bytes] = field(default_factory=dict)
    links: Mapping[str, Path] = field(default_factory=dict)
    copies: Mapping[str, Path] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    cores: int = 1
    timeout_s: float | None = None


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
    """

    job: Job
    returncode: int | None
    seconds: float

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


class Launcher(Protocol):
    """Runs jobs. A laptop, a cluster and a test are the same code behind this one verb."""

    @property
    def cores(self) -> int:
        """How many cores may be busy at once."""
        ...

    def submit(self, jobs: Sequence[Job]) -> Generator[Event]:
        """Run the jobs, as many at once as cores allow; yield events until all are finished.

        Closing the generator, or an exception in it, stops what is still running.
        """
        ...


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


def run(launcher: Launcher, job: Job) -> Finished:
    """Submit one job and wait for its end."""
    for event in launcher.submit([job]):
        if isinstance(event, Finished):
            return event
    raise EngineFailed(f"{job.name}: the launcher ended without a result")
