"""Jobs as child processes of this process: starting, polling and ending them."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Protocol

from .. import jobs
from ..errors import EngineFailed, PhasewalkError
from ..files import set_aside
from ..jobs import Event, Finished, Job, Queued, Running, Started
from ..where import Where, to_json
from . import workplace
from .waiting import Waiting

POLL_S = 0.05
RUNNING_EVERY_S = 0.5
"""Time between two `Running` events of a job."""
QUEUED_EVERY_S = 10.0
"""Time between two `Queued` events of a job."""
WAITS = "for free cores, GPUs or memory"
TRIES = 3
"""Number of times that a job is started if it could not be started."""
SUPERVISOR = Path(__file__).with_name("supervise.py")


@dataclass(frozen=True)
class Outside:
    """What happened to a job from outside.

    Attributes:
        why: see `jobs.Finished.why`.
        again: it says nothing about the job, which is done again, at most `TRIES` times, or as
            often as its command allows if machines are lost.
        lost: names of machines that are lost.
        ended: the time of all machines is over.
        ask: whether they are still there has to be asked.
    """

    why: str
    again: bool = False
    lost: tuple[str, ...] = ()
    ended: bool = False
    ask: bool = False


@dataclass(frozen=True)
class Command:
    """How a job is started.

    Attributes:
        words: program and arguments, with all launchers.
        environ: environment, to which the variables of the job are added.
        over: variables that replace those of the job.
        host: name of the machines on which it runs; empty: this one.
        grace_s: time between SIGTERM and SIGKILL when it is stopped; 0: SIGKILL at once.
        says: file in the job's directory for what the words themselves print, if they write the
            output of the program to its files; empty if they do not.
        where: where on a site it runs; None without one.
        max_losses: number of times that it is started again after its machine was lost; None: no
            limit.
        outside: what happened to the program from outside, from what the words printed and its own
            last lines; None if nothing did.
    """

    words: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    over: Mapping[str, str] = field(default_factory=dict)
    host: str = ""
    grace_s: float = 0.0
    says: str = ""
    where: Where | None = None
    max_losses: int | None = None
    outside: Callable[[str], Outside | None] = lambda said: None


class Machines(Protocol):
    """The cores, GPUs and memory on which a session's jobs run.

    A placement says what a job occupies of them; only the machines themselves know what it is.
    """

    def alike(self, job: Job) -> Any:
        """Jobs for which this is equal have the same placements."""
        ...

    def weight(self, job: Job) -> float:
        """How large a job is, for the order in which jobs start."""
        ...

    def place(self, job: Job, before: Job | None) -> Any | None:
        """Where a job can start now; None if it cannot.

        Args:
            job: the job.
            before: a job that does not fit yet, but must not be delayed by this one.
        """
        ...

    def check(self, job: Job) -> None:
        """Raise InputError if a job can never start here."""
        ...

    def take(self, job: Job, placement: Any) -> Command:
        """Occupy a placement; returns how the job is started there."""
        ...

    def where(self, job: Job) -> Where | None:
        """What is known of a job that waits; None without a site: nobody is told that it waits."""
        ...

    def narrow(self, directory: Path, cores: int) -> None:
        """Reduce the number of cores that a job occupies."""
        ...

    def release(self, directory: Path) -> None:
        """Free what the job of a directory occupied."""
        ...

    def note(self, happened: Outside) -> None:
        """Do without machines that are lost; raise OutOfTime or Interrupted if none is left."""
        ...

    def check_time(self, waiting: Job | None) -> None:
        """Raise OutOfTime if running jobs must be stopped, or if this job cannot start any more.

        Args:
            waiting: a job that waits although nothing runs; None if something runs.
        """
        ...


@dataclass
class Process:
    """A running job."""

    job: Job
    popen: subprocess.Popen[bytes]
    started: float
    streams: tuple[IO[bytes], ...]
    next_event: float
    command: Command
    where: Where | None = None

    def stop(self) -> None:
        """Begin to stop it, if that takes time; `kill` waits for the end."""
        if self.command.grace_s:
            with contextlib.suppress(ProcessLookupError):
                self.popen.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process group, which contains only this job's processes."""
        if self.command.grace_s and self.popen.poll() is None:
            self.stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(self.command.grace_s + 1.0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        for stream in self.streams:
            stream.close()
        workplace.clear(self.job)


def start(job: Job, command: Command) -> Process:
    """Start a job.

    Raises:
        EngineFailed: the operating system could not start it.
    """
    scratch = workplace.prepare(job)
    streams = [(job.directory / name).open("wb") for name in (Finished.STDOUT, Finished.STDERR)]
    if command.says:
        streams.append((job.directory / command.says).open("wb"))
    where = command.where and replace(command.where, started=time.time())
    placed = json.dumps(to_json(where)) if where else ""
    settings = (str(os.getpid()), jobs.ENDED, f"{command.grace_s:g}", command.host, placed)
    argv = [sys.executable, "-I", "-S", str(SUPERVISOR), *settings, *command.words]
    environ = {**command.environ, **workplace.TEXT, "TMPDIR": str(scratch)}
    try:
        popen = subprocess.Popen(
            argv,
            cwd=job.directory,
            env={**environ, **job.env, **command.over},
            stdin=subprocess.DEVNULL,
            stdout=streams[-1] if command.says else streams[0],
            stderr=streams[-1],
            start_new_session=True,
        )
    except OSError as error:
        for stream in streams:
            stream.close()
        raise EngineFailed(f"{job.name}: cannot start {job.argv[0]}: {error.strerror}") from error
    now = time.monotonic()
    return Process(job, popen, now, tuple(streams), now + RUNNING_EVERY_S, command, where)


def poll(process: Process) -> Event | None:
    """The next event of a process; None if there is none yet."""
    now = time.monotonic()
    seconds = now - process.started
    code = process.popen.poll()
    if code is not None:
        process.kill()  # processes that it left running
        return jobs.finished(process.job) or _ended(process, code, seconds)
    if process.job.timeout_s is not None and seconds > process.job.timeout_s:
        process.kill()
        return _ended(process, None, seconds)
    if now >= process.next_event:
        process.next_event = now + RUNNING_EVERY_S
        return Running(process.job, seconds, process.where)
    return None


def _ended(process: Process, code: int | None, seconds: float) -> Finished:
    """The end of a job whose supervisor could not record it."""
    job, where, host = process.job, process.where, os.uname().nodename
    with contextlib.suppress(PhasewalkError):  # a full disk; the result is still returned
        jobs.record_end(job.directory, code, seconds, host, where=where)
    return jobs.finished(job) or Finished(job, code, seconds, host, where=where)


def _outside(ended: Finished, command: Command) -> Outside | None:
    """What happened to a job from outside; the messages of what started it are kept."""
    if not command.says:
        return None
    said = (ended.directory / command.says).read_text(errors="replace", encoding="utf-8")
    if not said:
        return None
    errors = ended.directory / Finished.STDERR
    with contextlib.suppress(OSError):
        if ended.returncode and not errors.stat().st_size:
            errors.write_text(said, encoding="utf-8")
    return command.outside(f"{said}\n{ended.last_lines(20)}")


def _why(ended: Finished, why: str) -> Finished:
    """The end of a job with the reason, also in its directory."""
    with contextlib.suppress(PhasewalkError):
        jobs.record_end(
            ended.directory,
            ended.returncode,
            ended.seconds,
            ended.host,
            why=why,
            where=ended.where,
        )
    return replace(ended, why=why)


@dataclass
class ProcessSession:
    """Jobs as child processes; see `jobs.Session`."""

    machines: Machines
    _waiting: Waiting = field(init=False)
    _running: list[Process] = field(default_factory=list)
    _tries: dict[Path, int] = field(default_factory=dict)
    _losses: dict[Path, int] = field(default_factory=dict)
    _added: dict[Path, float] = field(default_factory=dict)
    """When each waiting job of a site was added."""
    _next_sign: float = 0.0

    def __post_init__(self) -> None:
        self._waiting = Waiting(self.machines)

    def add(self, job: Job) -> None:
        """Add a job."""
        self.machines.check(job)
        self._waiting.add(job)
        self._added[job.directory] = time.monotonic()

    def resume(self, job: Job) -> bool:
        """No job outlives the process that started it."""
        return False

    def events(self) -> Generator[Event]:
        """Start jobs that fit and poll running ones, until there are none of either."""
        while self._waiting or self._running:
            while (found := self._waiting.start()) is not None:
                job, placement = found
                process = start(job, self._counted(job, self.machines.take(job, placement)))
                self._running.append(process)
                self._added.pop(job.directory, None)
                yield Started(job, process.where)
            yield from self._signs()
            self.machines.check_time(None if self._running else self._waiting.oldest())
            self._stop_softly()
            time.sleep(POLL_S)
            for process in list(self._running):
                event = poll(process) if process in self._running else None
                if isinstance(event, Finished):
                    self._forget(process)
                    event = self._judged(process, event)
                if event is not None:
                    yield event

    def _stop_softly(self) -> None:
        """Let programs stop by themselves before the time of all machines is over."""
        for one in self._running:
            pool = one.where.pool if one.where and one.job.stop_file else None
            if pool is not None and pool.ends_at is not None:
                whole_s = pool.ends_at - pool.began if pool.began is not None else math.inf
                if time.time() > pool.ends_at - workplace.early_s(whole_s):
                    workplace.stop_softly(one.job)

    def _signs(self) -> Generator[Event]:
        """That jobs of a site wait, now and then."""
        now = time.monotonic()
        if not self._waiting or now < self._next_sign:
            return
        self._next_sign = now + QUEUED_EVERY_S
        for job in self._waiting.jobs():
            where = self.machines.where(job)
            if where is not None and job.directory in self._waiting:
                yield Queued(job, now - self._added.get(job.directory, now), WAITS, where)

    def narrow(self, directory: Path, cores: int) -> None:
        """Reduce the number of cores of the running job in a directory."""
        if any(process.job.directory == directory for process in self._running):
            self.machines.narrow(directory, cores)

    def stop(self, directory: Path) -> None:
        """Stop or cancel the job in a directory."""
        self._waiting.cancel(directory)
        self._added.pop(directory, None)
        for process in [one for one in self._running if one.job.directory == directory]:
            self._forget(process)
            process.kill()

    def close(self) -> None:
        """Stop running jobs and cancel waiting ones."""
        self._waiting.clear()
        for process in self._running:
            process.stop()
        while self._running:
            process = self._running[-1]
            self._forget(process)
            process.kill()

    def _judged(self, process: Process, ended: Finished) -> Finished | None:
        """The end of a job; None if it was lost and waits again."""
        happened = _outside(ended, process.command)
        if happened is None or (not ended.returncode and not happened.again):
            return ended
        self.machines.note(happened)
        job, most = process.job, process.command.max_losses
        if job.stop_file:
            ended = replace(ended, returncode=ended.returncode or 1, again=happened.again)
            return _why(ended, happened.why)
        count, most = (self._losses, most) if happened.lost else (self._tries, TRIES - 1)
        done = count.get(job.directory, 0)
        if not happened.again or (most is not None and done >= most):
            return _why(replace(ended, returncode=ended.returncode or 1), happened.why)
        count[job.directory] = done + 1
        set_aside(job.directory, "lost")
        self.add(job)
        return None

    def _counted(self, job: Job, command: Command) -> Command:
        """The command, with how often the job has lost its machine before."""
        losses = self._losses.get(job.directory)
        if losses is None or command.where is None:
            return command
        return replace(command, where=replace(command.where, losses=losses))

    def _forget(self, process: Process) -> None:
        self._running.remove(process)
        self.machines.release(process.job.directory)
