"""Signals that stop a command like Ctrl-C: from a scheduler, or when the terminal is closed."""

import os
import signal
import sys
from types import FrameType

STOPS = (signal.SIGTERM, signal.SIGHUP)


def listen() -> None:
    """Handle these signals like Ctrl-C, except one that is ignored (by nohup)."""
    for number in STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)


def stop(number: int, _frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, so that the stop is not taken for a failure of a task."""
    for other in STOPS:  # a shell sends SIGHUP twice, which must not interrupt the shutdown
        signal.signal(other, signal.SIG_IGN)
    if number == signal.SIGHUP:
        _leave_terminal()
    raise KeyboardInterrupt


def _leave_terminal() -> None:
    """Discard output if the terminal was closed, to avoid an error of output."""
    for stream in (sys.stdout, sys.stderr):
        try:
            os.write(stream.fileno(), b"")
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
