"""Run one program, and let its whole process group die with whoever started it.

Started as `python -I -S supervise.py PROGRAM ARGUMENTS…` in a session of its own. Linux tells it by
SIGTERM when its parent is gone, also after SIGKILL (prctl(2), PR_SET_PDEATHSIG), so that no engine
outlives a killed campaign. Only the standard library is used, and `-S` keeps the start at ~15 ms.
"""

import ctypes
import os
import signal
import subprocess
import sys
from types import FrameType

PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> int:
    """Run argv[1:], return its exit code (128 + signal where it died of one)."""
    parent = int(argv[1])
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    def end(_signal: int, _frame: FrameType | None) -> None:
        os.killpg(os.getpgrp(), signal.SIGKILL)

    signal.signal(signal.SIGTERM, end)
    if os.getppid() != parent:  # gone before prctl took effect
        return 128 + signal.SIGTERM
    try:
        code = subprocess.call(argv[2:])
    except OSError as error:
        print(f"cannot start {argv[2]}: {error.strerror}", file=sys.stderr)
        return 127
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv))
