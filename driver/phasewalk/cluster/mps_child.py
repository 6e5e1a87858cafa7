"""Run a program with NVIDIA's MPS, with which several processes share a GPU without switching.

Usage: `python mps_child.py PROGRAM ARGUMENTS…`, once on a node or as each rank of `srun`. The first
process of a node starts the daemon, in a folder of this job, the others wait for it; when the
program of the first has ended, the daemon is asked to quit, which it does when no process uses it.
Without the daemon the program runs as it would without MPS. It uses only the standard library.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

DAEMON = "nvidia-cuda-mps-control"
WAIT_S = 20.0
QUIT_S = 60.0
PLACE, PREFIX = "/tmp", "phasewalk-mps-"
"""Where the daemon's folder is: on the node, and short, since it holds a socket."""


def main(argv: list[str]) -> int:
    """Run argv[1:] and return its exit code (128 + signal if a signal ended it)."""
    program, environ = argv[1:], dict(os.environ)
    if shutil.which(DAEMON) is None:
        print(f"{DAEMON} not found: GPUs are shared without MPS", file=sys.stderr)
        return _call(program, environ)
    if "SLURM_STEP_ID" not in environ:
        return _first(program, Path(tempfile.mkdtemp(prefix=PREFIX, dir=PLACE)), environ)
    # All ranks of a node know this name, and no other step has it, also if the job is requeued.
    names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_SRUN_COMM_PORT")
    folder = Path(PLACE, PREFIX + ".".join(environ.get(name, "") for name in names))
    if environ.get("SLURM_LOCALID", "0") == "0":
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            print(f"{folder}: {error.strerror}: GPUs are shared without MPS", file=sys.stderr)
            return _call(program, environ)
        return _first(program, folder, environ)
    _wait(folder / "ready")
    return _call(program, _client(folder, environ))


def _first(program: list[str], folder: Path, environ: Mapping[str, str]) -> int:
    """Run a program with a daemon of its own, which is started before and quits after it."""
    daemon = {**environ, **_folders(folder)}
    try:
        started = subprocess.run([DAEMON, "-d"], env=daemon, check=False).returncode == 0
        if not started:
            print(f"{DAEMON} did not start: GPUs are shared without MPS", file=sys.stderr)
        (folder / "ready").write_text("yes" if started else "no", encoding="utf-8")
        return _call(program, _client(folder, environ))
    finally:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                [DAEMON], input=b"quit\n", env=daemon, timeout=QUIT_S, check=False,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
        shutil.rmtree(folder, ignore_errors=True)


def _client(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program; the daemon numbers its GPUs from 0."""
    with contextlib.suppress(OSError):
        if (folder / "ready").read_text(encoding="utf-8") == "yes":
            found = {**environ, **_folders(folder)}
            if gpus := found.get("CUDA_VISIBLE_DEVICES"):
                numbers = range(len(gpus.split(",")))
                found["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, numbers))
            return found
    return dict(environ)


def _folders(folder: Path) -> dict[str, str]:
    return {"CUDA_MPS_PIPE_DIRECTORY": str(folder), "CUDA_MPS_LOG_DIRECTORY": str(folder)}


def _wait(file: Path) -> None:
    until = time.monotonic() + WAIT_S
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.05)


def _call(program: list[str], environ: Mapping[str, str]) -> int:
    # The file descriptors through which MPI talks to its launcher must stay open.
    code = subprocess.call(program, env=dict(environ), close_fds=False)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv))
