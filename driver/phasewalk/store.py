"""The campaign directory: atomic writes, append-only journal, labels, lock. Plain files only.

campaign.yaml    the settings as they were given
campaign.json    schema, name, and the fingerprint of what must not change
journal.jsonl    one line for each finished task
labels/          one file for each label, named by its content
rounds/003/…     what the tasks of a round wrote
models/gen-003/  checkpoint and deployed models
bias/<system>/   hills of each round
lock             who works here now
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import labels as label_files
from .errors import ParseError, StoreError
from .labels import Label

SCHEMA = 2
JOURNAL, IDENTITY, LOCK = "journal.jsonl", "campaign.json", "lock"


@dataclass(frozen=True)
class Record:
    """One finished task.

    Attributes:
        task: what was done, unique in the campaign ("round 2 segment").
        stage: bootstrap, segment, label, train, deploy, evaluate.
        round: 0 for the bootstrap.
        inputs: hash of what the task depends on.
        outputs: what later tasks and the reader need.
        seconds: wall time.
        time: when it ended, seconds since 1970.
    """

    task: str
    stage: str
    round: int
    inputs: str
    outputs: Mapping[str, Any]
    seconds: float
    time: float


def hash_of(*parts: Any) -> str:
    """Hash of JSON-able parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into one line that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "no space left; free some and run the same command again, nothing was lost"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = "not writable; choose another --dir or change its permissions"
        else:
            hint = error.strerror or str(error)
        raise StoreError(f"{path}: {hint}") from error


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)


@dataclass
class Store:
    """A campaign directory that is open for work (locked) or for reading."""

    root: Path
    _records: dict[str, Record] = field(default_factory=dict)
    _lock: int | None = None

    def records(self) -> list[Record]:
        """All finished tasks, in the order in which they ended."""
        return list(self._records.values())

    def done(self, task: str, inputs: str) -> Record | None:
        """The task's record where it was done with the same inputs."""
        record = self._records.get(task)
        return record if record is not None and record.inputs == inputs else None

    def find(self, task: str) -> Record | None:
        """The task's record, whatever it was made from."""
        return self._records.get(task)

    def append(self, record: Record) -> None:
        """Add a finished task; it is on disk when this returns."""
        line = json.dumps({"schema": SCHEMA, **record.__dict__}) + "\n"
        path = self.root / JOURNAL
        with _named(path), path.open("ab") as stream:
            stream.write(line.encode())
            stream.flush()
            os.fsync(stream.fileno())
        self._records.pop(record.task, None)  # one that was done again stands where it ended now
        self._records[record.task] = record

    def label(self, key: str) -> Label | None:
        """The label of that content address, if there is one."""
        path = self.root / "labels" / f"{key}.json"
        if not path.is_file():
            return None
        label = label_files.from_json(path.read_text(errors="replace"), path)
        if label.key != key or label_files.content_key(label.atoms, label.level) != key:
            raise ParseError(path, "holds another frame than its name says: damaged, or renamed")
        return label

    def add_label(self, label: Label) -> None:
        """Keep a label; never overwrites one."""
        path = self.root / "labels" / f"{label.key}.json"
        if not path.exists():
            write_file(path, label_files.to_json(label).encode())

    def write(self, name: str, content: bytes) -> Path:
        """Write a file of the campaign whole or not at all."""
        path = self.root / name
        write_file(path, content)
        return path

    def workplace(self, name: str) -> Path:
        """A fresh directory for a task; what an interrupted run left there is set aside."""
        path = self.root / name
        with _named(path):
            set_aside(path, "interrupted")
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def close(self) -> None:
        """Give up the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def set_aside(path: Path, why: str) -> Path | None:
    """Rename what is at `path` to `path.why-N`: a failed directory is evidence."""
    if not path.exists():
        return None
    number = 1
    while (target := path.with_name(f"{path.name}.{why}-{number}")).exists():
        number += 1
    path.rename(target)
    return target


def open_campaign(root: Path, identity: Mapping[str, Any]) -> Store:
    """Make or reopen a campaign directory for work, and lock it.

    Args:
        root: the directory.
        identity: name and fingerprints of what must stay the same as long as the campaign lives.

    Raises:
        StoreError: locked by another run, another campaign's, of another schema, not writable.
    """
    with _named(root):
        root.mkdir(parents=True, exist_ok=True)
        foreign = not (root / IDENTITY).exists() and any(
            child.name not in (LOCK, f".{IDENTITY}.part") for child in root.iterdir()
        )
    if foreign:
        raise StoreError(f"{root}: not empty and not a campaign; choose another --dir")
    lock = _lock(root)
    try:
        if not (root / IDENTITY).exists():
            text = json.dumps({"schema": SCHEMA, **identity}, indent=1) + "\n"
            write_file(root / IDENTITY, text.encode())
        _same_identity(root, identity)
        _repair_journal(root / JOURNAL)
        return Store(root, _read_journal(root / JOURNAL), lock)
    except BaseException:
        os.close(lock)
        raise


def read_campaign(root: Path) -> Store:
    """Open a campaign directory for reading alone, also while it runs."""
    if not (root / IDENTITY).is_file():
        raise StoreError(f"{root}: not a campaign directory (it has no {IDENTITY})")
    read_identity(root)
    return Store(root, _read_journal(root / JOURNAL))


def read_identity(root: Path) -> dict[str, Any]:
    """What `open_campaign` wrote; StoreError where the schema is another."""
    path = root / IDENTITY
    try:
        identity: dict[str, Any] = json.loads(path.read_text())
        schema = identity["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ParseError(path, f"not readable as a campaign's identity ({error!r})") from error
    if schema != SCHEMA:
        raise StoreError(
            f"{root}: written by another version of phasewalk (schema {schema}, this one reads "
            f"{SCHEMA}); start a new --dir"
        )
    return identity


def settings_text(root: Path) -> tuple[str, str]:
    """The settings that a campaign was last run with, and their file's name."""
    path = root / "campaign.yaml"
    with _named(path):
        return path.read_text(), str(path)


def _same_identity(root: Path, identity: Mapping[str, Any]) -> None:
    found = read_identity(root)
    for key, wanted in identity.items():
        if found.get(key) != wanted:
            raise StoreError(
                f"{root}: belongs to another campaign: its {key} is {found.get(key)!r}, "
                f"this one's is {wanted!r}; choose another --dir"
            )


def _lock(root: Path) -> int:
    path = root / LOCK
    with _named(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            os.close(handle)
            raise StoreError(f"{path}: this file system has no locks ({error.strerror})") from error
        owner = os.read(handle, 200).decode(errors="replace").strip()
        os.close(handle)
        raise StoreError(
            f"{root}: another run works here ({owner or 'unknown'}); wait for it or stop it"
        ) from error
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"pid {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    return handle


def locked(root: Path) -> bool:
    """Whether a run works in the directory now."""
    try:
        handle = os.open(root / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _repair_journal(path: Path) -> None:
    """Cut off a last line that a kill left unfinished: its task counts as not done."""
    if not path.is_file():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole != len(content):
        with _named(path), path.open("r+b") as stream:
            stream.truncate(whole)
            os.fsync(stream.fileno())


def _read_journal(path: Path) -> dict[str, Record]:
    records: dict[str, Record] = {}
    if not path.is_file():
        return records
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            data = json.loads(line)
            if data.pop("schema") != SCHEMA:
                raise ValueError("another schema")
            record = Record(**data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ParseError(path, f"not a journal record ({error})", number) from error
        records.pop(record.task, None)
        records[record.task] = record
    return records


def now() -> float:
    """Wall clock, seconds since 1970."""
    return time.time()


def read_json(path: Path) -> list[dict[str, Any]]:
    """A list that the campaign wrote; ParseError where it cannot be read."""
    try:
        data: list[dict[str, Any]] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ParseError(path, f"cannot be read ({error}); restore it from a backup") from error
    return data
