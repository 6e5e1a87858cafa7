"""Run jobs as child processes on this machine; the only module that starts processes."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from .. import jobs
from ..errors import EngineFailed, PhasewalkError
from ..jobs import Event, Finished, Job, Running, Session, Started
from .waiting import Waiting, needed

POLL_S = 0.05
RUNNING_EVERY_S = 0.5
"""Time between two `Running` events of a job."""
SCRATCH = "tmp"
"""Name of a job's TMPDIR, in its directory, so that a killed program leaves no files elsewhere."""
TEXT = {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:backslashreplace"}
"""Input and output of programs are UTF-8 in every locale."""
SUPERVISOR = Path(__file__).with_name("supervise.py")


@dataclass
class _Process:
    job: Job
    popen: subprocess.Popen[bytes]
    started: float
    streams: tuple[IO[bytes], ...]
    next_event: float
    cores: int

    def kill(self) -> None:
        """Kill the process group, which contains only this job's processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        self.close()
        shutil.rmtree(self.job.directory / SCRATCH, ignore_errors=True)

    def close(self) -> None:
        for stream in self.streams:
            stream.close()


@dataclass
class LocalSession:
    """Jobs as child processes; see `jobs.Session`."""

    cores: int
    _waiting: Waiting = field(init=False)
    _running: list[_Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._waiting = Waiting(self.cores)

    def add(self, job: Job) -> None:
        """Add a job."""
        self._waiting.add(job)

    def resume(self, job: Job) -> bool:
        """No job outlives the process that started it."""
        return False

    def events(self) -> Generator[Event]:
        """Start jobs that fit and poll running ones, until there are none of either."""
        while self._waiting or self._running:
            while (job := self._waiting.start(self._busy())) is not None:
                process = _start(job)
                self._running.append(process)
                yield Started(process.job)
            time.sleep(POLL_S)
            for process in list(self._running):
                event = _poll(process) if process in self._running else None
                if isinstance(event, Finished):
                    self._running.remove(process)
                if event is not None:
                    yield event

    def narrow(self, directory: Path, cores: int) -> None:
        """Reduce the number of cores of the running job in a directory."""
        for process in self._running:
            if process.job.directory == directory:
                process.cores = min(process.cores, cores)

    def stop(self, directory: Path) -> None:
        """Stop or cancel the job in a directory."""
        self._waiting.cancel(directory)
        for process in [one for one in self._running if one.job.directory == directory]:
            self._running.remove(process)
            process.kill()

    def close(self) -> None:
        """Stop running jobs and cancel waiting ones."""
        self._waiting.clear()
        while self._running:
            self._running.pop().kill()

    def _busy(self) -> int:
        """Number of cores of running jobs."""
        return sum(process.cores for process in self._running)


@dataclass(frozen=True)
class LocalLauncher:
    """Runs jobs as child processes, as many at a time as `cores` allow."""

    cores: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))

    @property
    def here(self) -> bool:
        """Its jobs run on this machine."""
        return True

    def session(self) -> Session:
        """Open a session."""
        return LocalSession(self.cores)


def _start(job: Job) -> _Process:
    job.directory.mkdir(parents=True, exist_ok=True)
    for name, content in job.inputs.items():
        path = job.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name, target in job.links.items():
        path = job.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(_link_path(path.parent, target))
    for name, source in job.copies.items():
        shutil.copyfile(source, job.directory / name)
    (job.directory / jobs.ENDED).unlink(missing_ok=True)
    scratch = job.directory.absolute() / SCRATCH
    scratch.mkdir(exist_ok=True)
    stdout = (job.directory / Finished.STDOUT).open("wb")
    stderr = (job.directory / Finished.STDERR).open("wb")
    argv = [sys.executable, "-I", "-S", str(SUPERVISOR), str(os.getpid()), jobs.ENDED, *job.command]
    try:
        popen = subprocess.Popen(
            argv,
            cwd=job.directory,
            env={**os.environ, **TEXT, "TMPDIR": str(scratch), **job.env},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    except OSError as error:
        stdout.close()
        stderr.close()
        raise EngineFailed(f"{job.name}: cannot start {job.argv[0]}: {error.strerror}") from error
    now = time.monotonic()
    return _Process(job, popen, now, (stdout, stderr), now + RUNNING_EVERY_S, needed(job))


def _link_path(folder: Path, target: Path) -> str:
    """The path of the target of a link in a folder.

    It is relative, so that a campaign can be moved, unless the two share only the root directory.
    """
    here, there = folder.resolve(), target.resolve()
    if len(Path(os.path.commonpath([here, there])).parts) < 2:
        return str(target.absolute())
    return os.path.relpath(there, here)


def _poll(process: _Process) -> Event | None:
    """The next event of a process; None if there is none yet."""
    now = time.monotonic()
    seconds = now - process.started
    code = process.popen.poll()
    if code is not None:
        process.kill()  # processes that it left running
        return jobs.finished(process.job) or _ended(process.job, code, seconds)
    if process.job.timeout_s is not None and seconds > process.job.timeout_s:
        process.kill()
        return _ended(process.job, None, seconds)
    if now >= process.next_event:
        process.next_event = now + RUNNING_EVERY_S
        return Running(process.job, seconds)
    return None


def _ended(job: Job, code: int | None, seconds: float) -> Finished:
    """The end of a job whose supervisor could not record it."""
    with contextlib.suppress(PhasewalkError):  # a full disk; the result is still returned
        jobs.record_end(job.directory, code, seconds, os.uname().nodename)
    return jobs.finished(job) or Finished(job, code, seconds, os.uname().nodename)
