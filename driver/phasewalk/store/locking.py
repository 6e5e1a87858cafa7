"""The lock of a campaign directory, renewed regularly so that other hosts see that a run is alive.

flock works between the processes of one machine, but not always between hosts that share a file
system. The lock file therefore also names its owner, which renews the file's time every 10 s; a run
that has not done so for 60 s counts as dead. Ages are measured with the clock of the file system,
because clocks of hosts may differ. If two hosts start at the same moment, both write their name;
the one whose name is overwritten stops before it writes anything else.
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
    """Content of a lock file.

    Attributes:
        who: process and host, for messages.
        machine: identifies the running kernel; flock works between its processes.
        id: random, unique to this run.
        since: start of the run by its own clock, for messages.
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
        took_over: message about the dead run whose lock was taken over; empty if there was none.
        renewed: time of the last renewal, by `_clock`.
    """

    path: Path
    handle: int
    owner: Owner
    took_over: str
    renewed: float

    def beat(self) -> None:
        """Renew the lock if the last renewal is `BEAT_S` old; raises as `renew` does."""
        if _clock() - self.renewed >= BEAT_S:
            self.renew()

    def renew(self) -> None:
        """Renew the lock; StoreError if it belongs to another run now."""
        with named(self.path):
            self._check()
            os.utime(self.path)  # without times: the file server's clock, not this host's
        self.renewed = _clock()

    def _check(self) -> None:
        found = _read(self.path)
        if found is None:
            raise StoreError(
                f"{self.path}: emptied or removed during this run, which has stopped; make sure "
                "that no other run uses this directory, then run the same command again"
            )
        if found.id != self.owner.id:
            raise StoreError(
                f"{self.path.parent}: another run has taken over ({found.who}), because this one "
                f"did not renew its lock for {STALE_S:g} s; this run has stopped"
            )

    def release(self) -> None:
        """Release the lock; an empty file means that other hosts need not wait."""
        try:
            with contextlib.suppress(OSError, StoreError):
                self._check()  # never empty the file of another run
                os.ftruncate(self.handle, 0)
        finally:
            os.close(self.handle)


def take(root: Path) -> Lock:
    """Lock a directory, or take over the lock of a run that has died.

    Raises:
        StoreError: another run uses the directory, or the lock file cannot be written.
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
            f"{path.parent}: in use by another run ({found.who if found else 'unknown'}); "
            "wait until it ends, or stop it"
        )
    took_over = _take_over(path, found) if found and found.machine != _machine() else ""
    who = f"pid {os.getpid()} on {socket.gethostname()}"
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    owner = Owner(who, _machine(), uuid.uuid4().hex, since)
    content = (json.dumps(asdict(owner)) + "\n").encode()
    os.pwrite(handle, content, 0)
    os.ftruncate(handle, len(content))
    os.fsync(handle)
    return Lock(path, handle, owner, took_over, _clock())


def locked(root: Path) -> bool:
    """Whether a run uses the directory now, on this host or another one."""
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
        return True  # the file names a run, but its age is unknown
    finally:
        os.close(handle)


def _take_over(path: Path, found: Owner) -> str:
    """Message about the stale lock of another host; StoreError if it is not stale."""
    age = _age(path)
    # A time far in the future is stale too: the clock was set back, and no run has renewed it.
    if abs(age) < STALE_S:
        raise StoreError(
            f"{path.parent}: in use by another run ({found.who}; lock renewed {max(age, 0):.0f} s "
            "ago); wait until it ends, or stop it; if it was killed, try again in "
            f"{STALE_S - age:.0f} s"
        )
    return f"the lock of {found.who} is stale (last renewed {abs(age):.0f} s ago): taken over"


def _age(path: Path) -> float:
    """Seconds since the last renewal, by the clock of the file system."""
    with tempfile.TemporaryFile(dir=path.parent) as probe:
        now = os.fstat(probe.fileno()).st_mtime
    return now - path.stat().st_mtime


def _read(path: Path) -> Owner | None:
    """The owner of the lock; None if there is none, or if the file is incomplete."""
    with contextlib.suppress(FileNotFoundError, InputError):
        return typed(path.read_bytes(), Owner, unlike="not a lock")
    return None


def _flock(handle: int, how: int, path: Path) -> bool:
    """Lock an open file; False if another process of this machine holds the lock."""
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise StoreError(
            f"{path}: this file system does not support locks ({error.strerror}); choose a --dir "
            "on another one"
        ) from error
    return True


def _machine() -> str:
    """Identifier of the running kernel; containers share it, and host names may be equal."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return socket.gethostname()


def _clock() -> float:
    """Monotonic time in seconds, which includes the time when the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
