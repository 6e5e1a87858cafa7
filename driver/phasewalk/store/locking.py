"""Who works in a campaign directory: a lock, and a sign of life for other hosts to see.

flock is exact among the runs of one machine, but may not reach from one host to another that shares
the file system. So the lock file also names its owner, who renews it every 10 s; one that has not
for 60 s is dead. Ages are counted by the file system's own clock: those of hosts may differ. Two
hosts that start in the same moment both write their name: the one whose name does not stand is
stopped before it writes anything else.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import tempfile
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import InputError, StoreError, named
from ..files import typed

LOCK = "lock"
BEAT_S, STALE_S = 10.0, 60.0


@dataclass(frozen=True)
class Owner:
    """What a lock file says.

    Attributes:
        who: process and host, for people.
        machine: the kernel that the process runs on: one flock holds for all that share it.
        id: random, of this one run.
        since: when it began, by its own clock, for people.
    """

    who: str
    machine: str
    id: str
    since: str


@dataclass
class Lock:
    """A lock that is held.

    Attributes:
        path: its file.
        handle: the open file, which holds the flock.
        owner: this run.
        took_over: what is to be said of the run that left its lock; empty where there was none.
        beaten: when the last sign of life was given, by `_clock`.
    """

    path: Path
    handle: int
    owner: Owner
    took_over: str
    beaten: float

    def beat(self) -> None:
        """Give a sign of life where the last one is `BEAT_S` old; raises as `renew` does."""
        if _clock() - self.beaten >= BEAT_S:
            self.renew()

    def renew(self) -> None:
        """Give a sign of life; StoreError where the lock is not this run's any more."""
        with named(self.path):
            self._check()
            os.utime(self.path)  # without times: the file server's clock, not this host's
        self.beaten = _clock()

    def _check(self) -> None:
        found = _read(self.path)
        if found is None:
            raise StoreError(
                f"{self.path}: emptied or removed while this run worked here, so it has stopped; "
                "see that no other run works here, then run the same command again"
            )
        if found.id != self.owner.id:
            raise StoreError(
                f"{self.path.parent}: another run took over ({found.who}), as this one had given "
                f"no sign of life for {STALE_S:g} s; this one has stopped and writes nothing more"
            )

    def release(self) -> None:
        """Give up the lock; an empty file tells other hosts that they need not wait."""
        try:
            with contextlib.suppress(OSError, StoreError):
                self._check()  # never empties another run's
                os.ftruncate(self.handle, 0)
        finally:
            os.close(self.handle)


def take(root: Path) -> Lock:
    """Lock a directory, or take over the lock of a run that has died.

    Raises:
        StoreError: another run works here, or the lock file cannot be written.
    """
    path = root / LOCK
    with named(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            return _take(path, handle)
        except BaseException:
            os.close(handle)
            raise


def _take(path: Path, handle: int) -> Lock:
    free = _flock(handle, fcntl.LOCK_EX, path)
    found = _read(path)
    if not free:
        raise StoreError(
            f"{path.parent}: another run works here ({found.who if found else 'unknown'}); "
            "wait for it or stop it"
        )
    took_over = _outlived(path, found) if found and found.machine != _machine() else ""
    who = f"pid {os.getpid()} on {socket.gethostname()}"
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    owner = Owner(who, _machine(), uuid.uuid4().hex, since)
    content = (json.dumps(asdict(owner)) + "\n").encode()
    os.pwrite(handle, content, 0)
    os.ftruncate(handle, len(content))
    os.fsync(handle)
    return Lock(path, handle, owner, took_over, _clock())


def locked(root: Path) -> bool:
    """Whether a run works in the directory now, on this host or on another."""
    path = root / LOCK
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        if not _flock(handle, fcntl.LOCK_SH, path):
            return True
        found = _read(path)
        return found is not None and found.machine != _machine() and abs(_age(path)) < STALE_S
    except (OSError, StoreError):
        return True  # somebody's name stands there, and how long cannot be told
    finally:
        os.close(handle)


def _outlived(path: Path, found: Owner) -> str:
    """What is to be said of another host's lock that is stale; StoreError where it is not."""
    age = _age(path)
    # One that is far ahead is stale too: the clock was set back, and nobody has renewed it since.
    if abs(age) < STALE_S:
        raise StoreError(
            f"{path.parent}: another run works here ({found.who}; last sign of life "
            f"{max(age, 0):.0f} s ago); wait for it or stop it; if it was killed, try again in "
            f"{STALE_S - age:.0f} s"
        )
    return f"the lock of {found.who} is stale (last sign of life {abs(age):.0f} s ago): taken over"


def _age(path: Path) -> float:
    """Seconds since the last sign of life, by the file system's own clock."""
    with tempfile.TemporaryFile(dir=path.parent) as probe:
        now = os.fstat(probe.fileno()).st_mtime
    return now - path.stat().st_mtime


def _read(path: Path) -> Owner | None:
    """Whose lock it is; None for nobody's, and for a text that a kill or a full disk left half."""
    with contextlib.suppress(FileNotFoundError, InputError):
        return typed(path.read_bytes(), Owner, unlike="not a lock")
    return None


def _flock(handle: int, how: int, path: Path) -> bool:
    """Lock an open file; False where another process of this machine holds it."""
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise StoreError(f"{path}: this file system has no locks ({error.strerror})") from error
    return True


def _machine() -> str:
    """The running kernel: containers share it, and with it flock; host names may be alike."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return socket.gethostname()


def _clock() -> float:
    """Seconds that only run forward, also while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
