"""Run the jobs of one batch job; what its script starts, on the first node of the job.

Started as `python -I -S batch_child.py FILE`; FILE is JSON, written by `jobs_mode`. Each job runs
in its directory, with its output in files there; when it has ended, `finished.json` is written. A
job is left out if its directory belongs to another batch job by now, or if it has ended before:
so a batch job that Slurm starts again goes on where it was. Nothing is written for jobs that
Slurm stops (SIGTERM): what has become of the batch job then says it. It uses only the standard
library.
"""

import contextlib
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

SUPERVISE = Path(__file__).parents[1] / "engines/supervise.py"
POLL_S = 0.1
GRACE_S = 10.0
"""Time between SIGTERM and SIGKILL; srun stops its processes on all nodes in it."""


@dataclass
class _Running:
    job: Mapping[str, Any]
    process: subprocess.Popen[bytes]
    streams: tuple[IO[bytes], ...]
    started: float
    inode: int
    next_look: float
    stopped: float | None = None
    unwanted: bool = False

    @property
    def directory(self) -> Path:
        return Path(self.job["directory"])

    @property
    def mine(self) -> bool:
        """Whether the directory is still the one in which it was started."""
        try:
            return self.directory.stat().st_ino == self.inode
        except OSError:
            return False

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def close(self) -> None:
        self.signal(signal.SIGKILL)  # processes that it left running
        for stream in self.streams:
            stream.close()


class _Stopped(BaseException):
    """Slurm ends this job."""


def main(argv: list[str]) -> int:
    """Run the jobs of argv[1]."""
    batch = json.loads(Path(argv[1]).read_text(encoding="utf-8"))
    write = runpy.run_path(str(SUPERVISE))["write"]
    running: list[_Running] = []
    batch["begun"], batch["folder"] = time.time(), str(Path(argv[1]).absolute().parent)

    def end(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Stopped

    def stop_softly(_signal: int, _frame: FrameType | None) -> None:
        for one in running:
            _stop_softly(one, batch)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGUSR1, stop_softly)  # some minutes before the time limit
    try:
        _run(batch, running, write)
    except _Stopped:
        _stop(running)
        return 128 + signal.SIGTERM
    return 0


def _run(batch: Mapping[str, Any], running: list[_Running], write: Callable[..., None]) -> None:
    """Run all jobs, some at a time; none is begun after `last_start_s`."""
    begun, waiting = time.monotonic(), list(batch["jobs"])
    while waiting or running:
        if waiting and time.monotonic() - begun > batch["last_start_s"]:
            waiting.clear()
        while waiting and len(running) < batch["at_a_time"]:
            job = waiting.pop(0)
            if _is_due(job, batch) and not _is_once(job, batch):
                running.append(_start(job, batch))
        for one in list(running):
            if _ended(one, batch):
                _finish(one, batch, write)
                running.remove(one)
        if running:
            time.sleep(POLL_S)


def _is_due(job: Mapping[str, Any], batch: Mapping[str, Any]) -> bool:
    """Whether a job's directory waits for this batch job."""
    directory = Path(job["directory"])
    if (directory / batch["ended"]).exists():
        return False
    try:
        owner = json.loads((directory / batch["mark"]).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(owner.get("batch") == batch["name"])


def _is_once(job: Mapping[str, Any], batch: Mapping[str, Any]) -> bool:
    """Whether a job was started, and its driver alone knows how it goes on."""
    return bool(job["stop_file"]) and (Path(job["directory"]) / batch["stdout"]).exists()


def _stop_softly(one: _Running, batch: Mapping[str, Any]) -> None:
    """Make a program stop by itself, unless it was asked to already, or cannot."""
    if one.job["stop_file"] and one.mine:
        with contextlib.suppress(OSError), (one.directory / one.job["stop_file"]).open("x") as file:
            file.write(batch["over"])


def _start(job: Mapping[str, Any], batch: Mapping[str, Any]) -> _Running:
    directory = Path(job["directory"])
    if (directory / batch["stdout"]).exists():  # a start that Slurm ended, to be repeated
        _clean(directory, job, batch)
    scratch = directory / batch["scratch"]
    scratch.mkdir(exist_ok=True)
    streams = tuple((directory / batch[name]).open("wb") for name in ("stdout", "stderr"))
    environ = {**os.environ, **batch["environ"], "TMPDIR": str(scratch), **job["env"]}
    argv, fails = job["argv"], [sys.executable, "-I", "-S", "-c", "raise SystemExit(127)"]
    try:
        process = _popen(argv, directory, environ, streams)
    except OSError as error:
        streams[1].write(f"cannot start {argv[0]}: {error.strerror}\n".encode())
        streams[1].flush()
        process = _popen(fails, directory, environ, streams)
    now = time.monotonic()
    return _Running(job, process, streams, now, directory.stat().st_ino, now + batch["look_s"])


def _popen(
    argv: list[str], directory: Path, environ: Mapping[str, str], streams: tuple[IO[bytes], ...]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        cwd=directory,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=streams[0],
        stderr=streams[1],
        start_new_session=True,
    )


def _clean(directory: Path, job: Mapping[str, Any], batch: Mapping[str, Any]) -> None:
    """Make a directory as it was before its program was started."""
    kept = {batch["mark"], *job["keep"], *job["copies"]}
    for path in sorted(directory.rglob("*"), reverse=True):
        if str(path.relative_to(directory)) in kept:
            continue
        with contextlib.suppress(OSError):  # a folder with files that are kept
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()
    for name, source in job["copies"].items():
        shutil.copyfile(source, directory / name)
    for name, text in job.get("grows", {}).items():
        (directory / name).write_bytes(text.encode())


def _ended(one: _Running, batch: Mapping[str, Any]) -> bool:
    """Whether a job has ended; one that is not wanted, or over its time limit, is ended."""
    now = time.monotonic()
    if one.process.poll() is not None:
        return True
    if now > one.next_look:
        one.next_look = now + batch["look_s"]
        one.unwanted = one.unwanted or not _is_due(one.job, batch)
    limit = one.job["timeout_s"]
    if one.stopped is None and (one.unwanted or (limit and now - one.started > limit)):
        one.stopped = now
        one.signal(signal.SIGTERM)
    elif one.stopped is not None and now - one.stopped > GRACE_S:
        one.signal(signal.SIGKILL)
    return False


def _finish(one: _Running, batch: Mapping[str, Any], write: Callable[..., None]) -> None:
    """Record how a job has ended."""
    seconds = time.monotonic() - one.started
    code: int | None = one.process.returncode
    one.close()
    if one.stopped is not None:
        code, seconds = None, one.stopped - one.started
    elif code:
        time.sleep(batch["stopped_s"])  # interrupted if Slurm ends this job
        code = code if code > 0 else 128 - code
    if one.mine and not one.unwanted:
        shutil.rmtree(one.directory / batch["scratch"], ignore_errors=True)
        write(
            one.directory / batch["ended"], code, seconds, os.uname().nodename, _where(one, batch)
        )


def _where(one: _Running, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Where a job ran, as far as it is known here; the driver asks Slurm for the times."""
    names = {"number": "JOB_ID", "partition": "JOB_PARTITION", "nodes": "JOB_NODELIST"}
    found = {key: os.environ.get(f"SLURM_{name}", "") for key, name in names.items()}
    where = {**one.job.get("where", {}), **{key: text for key, text in found.items() if text}}
    with contextlib.suppress(OSError):  # its number is written as soon as it is in the queue
        where["submitted"] = (Path(batch["folder"]) / batch.get("number", "")).stat().st_mtime
        where["submitted"] = min(where["submitted"], batch["begun"])
    return {**where, "started": batch["begun"]}


def _stop(running: list[_Running]) -> None:
    """End what runs; Slurm does so too, and does not wait long."""
    for one in running:
        one.signal(signal.SIGTERM)
    until = time.monotonic() + GRACE_S
    while any(one.process.poll() is None for one in running) and time.monotonic() < until:
        time.sleep(POLL_S)
    for one in running:
        one.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv))
