"""Processes on this machine: the only module that starts anything."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ..errors import EngineFailed
from ..jobs import Event, Finished, Job, Running, Started

POLL_S = 0.05
SIGN_OF_LIFE_S = 0.5
SCRATCH = "tmp"
"""A job's TMPDIR, in its directory: nothing stays elsewhere of a program that was killed."""
TEXT = {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:backslashreplace"}
"""What is written for programs, and read from them, is UTF-8, whatever the user's locale."""
SUPERVISOR = Path(__file__).with_name("supervise.py")


@dataclass
class _Process:
    job: Job
    popen: subprocess.Popen[bytes]
    started: float
    streams: tuple[IO[bytes], ...]
    next_sign: float

    def kill(self) -> None:
        """Stop the whole process group: ours alone, since each job has a session of its own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        self.close()
        shutil.rmtree(self.job.directory / SCRATCH, ignore_errors=True)

    def close(self) -> None:
        for stream in self.streams:
            stream.close()


@dataclass(frozen=True)
class LocalLauncher:
    """Runs jobs as child processes, as many at once as `cores` allow."""

    cores: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))

    def submit(self, jobs: Sequence[Job]) -> Generator[Event]:
        """Run the jobs in order; see `jobs.Launcher`."""
        waiting = list(jobs)
        running: list[_Process] = []
        try:
            while waiting or running:
                while waiting and self._fits(waiting[0], running):
                    process = _start(waiting.pop(0))
                    running.append(process)
                    yield Started(process.job)
                time.sleep(POLL_S)
                for process in list(running):
                    event = _poll(process)
                    if isinstance(event, Finished):
                        running.remove(process)
                    if event is not None:
                        yield event
        finally:
            for process in running:
                process.kill()

    def _fits(self, job: Job, running: Sequence[_Process]) -> bool:
        """A job larger than the machine runs alone."""
        busy = sum(process.job.cores for process in running)
        return not running or busy + job.cores <= self.cores


def _start(job: Job) -> _Process:
    job.directory.mkdir(parents=True, exist_ok=True)
    for name, content in job.inputs.items():
        path = job.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name, target in job.links.items():
        path = job.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target.absolute())
    for name, source in job.copies.items():
        shutil.copyfile(source, job.directory / name)
    scratch = job.directory.absolute() / SCRATCH
    scratch.mkdir(exist_ok=True)
    stdout = (job.directory / Finished.STDOUT).open("wb")
    stderr = (job.directory / Finished.STDERR).open("wb")
    argv = [sys.executable, "-I", "-S", str(SUPERVISOR), str(os.getpid()), *job.argv]
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
    return _Process(job, popen, now, (stdout, stderr), now + SIGN_OF_LIFE_S)


def _poll(process: _Process) -> Event | None:
    """What has happened to the process since the last look; None for nothing."""
    now = time.monotonic()
    seconds = now - process.started
    code = process.popen.poll()
    if code is not None:
        process.kill()  # what it left running in its group
        return Finished(process.job, code, seconds)
    if process.job.timeout_s is not None and seconds > process.job.timeout_s:
        process.kill()
        return Finished(process.job, None, seconds)
    if now >= process.next_sign:
        process.next_sign = now + SIGN_OF_LIFE_S
        return Running(process.job, seconds)
    return None
