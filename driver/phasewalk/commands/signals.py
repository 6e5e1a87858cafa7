"""What stops a command from outside, besides Ctrl-C: a scheduler, or a terminal that is gone."""

import os
import signal
import sys
from types import FrameType

STOPS = (signal.SIGTERM, signal.SIGHUP)


def listen() -> None:
    """Let each of them end what runs as Ctrl-C does; what nohup has switched off stays off."""
    for number in STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)


def stop(number: int, _frame: FrameType | None) -> None:
    """As Ctrl-C: nothing may take it for the failure of a task."""
    for other in STOPS:  # a shell sends SIGHUP twice: what is being ended must not be interrupted
        signal.signal(other, signal.SIG_IGN)
    if number == signal.SIGHUP:
        _leave_terminal()
    raise KeyboardInterrupt


def _leave_terminal() -> None:
    """Where the terminal is gone, print to nowhere: an error of output would be the last word."""
    for stream in (sys.stdout, sys.stderr):
        try:
            os.write(stream.fileno(), b"")
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
