"""A disk that fails or dies at a chosen byte: below everything that the store writes.

Each written byte costs one, each other change (fsync, rename, mkdir, truncate) costs one. Where the
budget ends, the disk writes what it still may and then raises: an OSError once, or `Killed` for
good, since a killed process changes nothing more. No fsync reaches the real disk.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Disk:
    """What the store writes on.

    Attributes:
        budget: how much is written before it fails; None: it works.
        error: errno of the failure; None: the process is killed.
        again: how many more operations fail after the first (a full disk stays full).
        spent: what was written since it was last armed.
    """

    budget: int | None = None
    error: int | None = None
    again: int = 0
    spent: int = 0
    broken: bool = False
    place: Path = Path()
    """What the last operation was done to."""

    def arm(self, budget: int, error: int | None, again: int = 0) -> None:
        """Fail after so much."""
        self.budget, self.error, self.again, self.spent, self.broken = (
            budget,
            error,
            again,
            0,
            False,
        )

    def mend(self) -> None:
        """Work again."""
        self.budget, self.broken, self.spent = None, False, 0

    def pay(self, cost: int) -> int:
        """How much of an operation of this cost is done; what is less than all must `fail`."""
        if self.broken:
            return 0
        allowed = cost if self.budget is None else max(0, min(cost, self.budget - self.spent))
        self.spent += cost
        return allowed

    def fail(self) -> None:
        """Raise what the disk fails with."""
        if self.error is None:
            self.broken = True
            raise Killed
        if self.again:
            self.again -= 1
        else:
            self.budget = None
        raise OSError(self.error, os.strerror(self.error))

    def guard(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """An operation that is done or not done."""

        def guarded(*args: Any, **options: Any) -> Any:
            if args and isinstance(args[0], Path):
                self.place = args[0]
            if not self.pay(1):
                self.fail()
            return real(*args, **options)

        return guarded

    @contextlib.contextmanager
    def under(self) -> Iterator["Disk"]:
        """Put it below the store."""
        real_open, real_pwrite = Path.open, os.pwrite

        def opened(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
            if mode in ("wb", "ab", "r+b"):
                self.place = path
                if not self.pay(1):
                    self.fail()
                return File(real_open(path, mode, buffering=0), self)
            return real_open(path, mode, *args, **options)

        def pwrite(handle: int, content: bytes, offset: int) -> int:
            part = self.pay(len(content))
            written = real_pwrite(handle, content[:part], offset)
            if part < len(content):
                self.fail()
            return written

        with contextlib.ExitStack() as stack:
            for owner, name, new in (
                (Path, "open", opened),
                (os, "pwrite", pwrite),
                (os, "fsync", self.guard(lambda handle: None)),
                *((os, name, self.guard(getattr(os, name))) for name in ("ftruncate", "utime")),
                *((Path, n, self.guard(getattr(Path, n))) for n in ("replace", "rename", "mkdir")),
            ):
                stack.enter_context(mock.patch.object(owner, name, new))
            yield self


@dataclass
class Deadly(Disk):
    """A disk under which the process is killed at its n-th change, or never.

    A change is an operation: a file that is opened, written, brought to the disk, renamed … A write
    counts twice, since a kill leaves nothing of it, or half.

    Attributes:
        dies_at: the change that is not done any more, counted from 1; None: it lives on.
        of: name of the files whose changes count; all where left out.
        changes: how many there were.
    """

    dies_at: int | None = None
    of: str = ""
    changes: int = 0

    def pay(self, cost: int) -> int:
        """How much of an operation is done."""
        if self.broken:
            return 0
        if self.of not in ("", self.place.name):
            return cost
        for part in (0, cost // 2)[: 2 if cost > 1 else 1]:
            self.changes += 1
            if self.changes == self.dies_at:
                return part
        return cost


class File:
    """A file opened for writing; nothing waits in a buffer."""

    def __init__(self, raw: Any, disk: Disk) -> None:
        self.raw, self.disk = raw, disk
        self.tell, self.fileno, self.flush = raw.tell, raw.fileno, raw.flush
        self.seek, self.read = raw.seek, raw.read
        self.truncate = disk.guard(raw.truncate)

    def write(self, content: bytes) -> None:
        """Write what the disk allows."""
        part = self.disk.pay(len(content))
        self.raw.write(content[:part])
        if part < len(content):
            self.disk.fail()

    def __enter__(self) -> "File":
        return self

    def __exit__(self, *_: object) -> None:
        self.raw.close()
