"""Run one program, and let its whole process group die with whoever started it.

Started as `python -I -S supervise.py PARENT FILE PROGRAM ARGUMENTS…` in a session of its own. When
the program has ended, its return code, seconds and host are in FILE, whole or not at all. Linux
tells it by SIGTERM when its parent is gone, also after SIGKILL (prctl(2), PR_SET_PDEATHSIG), so
that no engine outlives a killed campaign. Only the standard library is used, and `-S` keeps the
start at ~15 ms.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> int:
    """Run argv[3:], return its exit code (128 + signal if it died of one)."""
    parent, file, program = int(argv[1]), Path(argv[2]).absolute(), argv[3:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    def end(_signal: int, _frame: FrameType | None) -> None:
        os.killpg(os.getpgrp(), signal.SIGKILL)

    signal.signal(signal.SIGTERM, end)
    if os.getppid() != parent:  # gone before prctl took effect
        return 128 + signal.SIGTERM
    started = time.monotonic()
    try:
        code = subprocess.call(program)
    except OSError as error:
        print(f"cannot start {program[0]}: {error.strerror}", file=sys.stderr)
        code = 127
    code = code if code >= 0 else 128 - code
    with contextlib.suppress(OSError):  # a full disk: the code still reaches who started this
        write(file, code, time.monotonic() - started)
    return code


def write(file: Path, code: int, seconds: float) -> None:
    """Write down how the program has ended, whole or not at all."""
    ended = {"returncode": code, "seconds": round(seconds, 6), "host": os.uname().nodename}
    part = file.with_name(f"{file.name}.part")
    with part.open("w", encoding="utf-8") as stream:
        json.dump(ended, stream)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
