"""Run one program, and kill its process group if the parent process ends.

Started as `python -I -S supervise.py PARENT FILE GRACE HOST WHERE PROGRAM ARGUMENTS…` in a session
of its own. When the program has ended, its return code, seconds and host (HOST, or this machine if
it is empty) are written to FILE atomically, with WHERE (JSON, or empty). Linux sends SIGTERM when
the parent has ended, also after SIGKILL (prctl(2), PR_SET_PDEATHSIG), so that no engine keeps
running after its campaign was killed. At SIGTERM the program gets SIGTERM, and GRACE seconds later
its process group gets SIGKILL: `srun` needs that time to stop what it runs on other machines. It
uses only the standard library, and `-S` reduces its start to about 15 ms.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> int:
    """Run argv[6:] and return its exit code (128 + signal if a signal ended it)."""
    parent, file, program = int(argv[1]), Path(argv[2]).absolute(), argv[6:]
    grace_s, host = float(argv[3]), argv[4] or os.uname().nodename
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    running: list[subprocess.Popen[bytes]] = []

    def end(_signal: int, _frame: FrameType | None) -> None:
        for one in running if grace_s else ():
            _terminate(one.pid, grace_s)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    signal.signal(signal.SIGTERM, end)
    if os.getppid() != parent:  # it ended before prctl took effect
        return 128 + signal.SIGTERM
    where = json.loads(argv[5]) if argv[5] else None
    started = time.monotonic()
    try:
        running.append(subprocess.Popen(program))
        code = running[0].wait()
    except OSError as error:
        print(f"cannot start {program[0]}: {error.strerror}", file=sys.stderr)
        code = 127
    code = code if code >= 0 else 128 - code
    with contextlib.suppress(OSError):  # a full disk; the parent still gets the exit code
        write(file, code, time.monotonic() - started, host, where)
    return code


def _terminate(pid: int, grace_s: float) -> None:
    """Send SIGTERM to a child and wait until it has ended, for a limited time."""
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + grace_s
        # `Popen.poll` does not work here: the interrupted `wait` holds its lock.
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while os.waitid(os.P_PID, pid, ended) is None and time.monotonic() < until:
            time.sleep(0.02)


def write(
    file: Path, code: int | None, seconds: float, host: str, where: Mapping[str, Any] | None = None
) -> None:
    """Write atomically how the program has ended."""
    ended: dict[str, Any] = {"returncode": code, "seconds": round(seconds, 6), "host": host}
    ended |= {"where": where} if where else {}
    part = file.with_name(f"{file.name}.part")
    with part.open("w", encoding="utf-8") as stream:
        json.dump(ended, stream)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
