"""The campaign directory: plain files, an append-only journal and a lock.

campaign.yaml    the settings of the last run
campaign.json    schema, name, and fingerprints of the settings that must not change
journal.jsonl    one line per finished task
labels/          one file per label, named by its content
rounds/003/…     output of the tasks of a round
models/gen-003/  checkpoint and deployed models
bias/<system>/   hills of each round
plumed/          copies of the files that PLUMED reads in addition to its input
rewound-1/       files moved away by `phasewalk rewind`
lock             the process that is using the directory
"""

import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import labels
from ..errors import ParseError, StoreError, brief, named
from ..files import (
    ANY,
    check_file,
    extend_file,
    file_hash,
    hash_bytes,
    read,
    read_text,
    set_aside,
    write_file,
)
from ..labels import Label, levels
from . import locking
from .journal import SCHEMA, line_of, read_journal
from .locking import Lock
from .records import FILES, Record
from .records_names import REWRITING, TRAIN, rewriting_task
from .records_outputs import Identity

JOURNAL, IDENTITY, SETTINGS = "journal.jsonl", "campaign.json", "campaign.yaml"
PLUMED_FILES = "plumed"
"""Directory with copies of the files that PLUMED reads in addition to its input."""
REWINDING = "rewinding"
"""Directory to which an unfinished rewind moves files; see `rewinding`."""

MAY_GO = re.compile(r"rounds/\d+/(frames-|[^/]+/)|models/(compiled|gen-\d+)/")
"""Files that a campaign can continue without, except those of the last generation."""


def _files_of(records: Iterable[Record]) -> dict[str, str]:
    """SHA-256 of the output files of tasks, by path; the last record of a file counts."""
    found: dict[str, str] = {}
    for record in records:
        found |= record.files
    return found


@dataclass
class Store:
    """A campaign directory, opened for writing (locked) or for reading."""

    root: Path
    _records: dict[str, Record] = field(default_factory=dict)
    _end: int = 0
    """Length of the journal's complete lines, bytes."""
    _crc: int = 0
    """Checksum of these lines."""
    _lock: Lock | None = None
    _files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the output files of finished tasks."""
    _left: dict[str, str] = field(default_factory=dict)
    """SHA-256 of files written since the last record; added to the next record."""

    _added: list[Record] = field(default_factory=list)
    """All records in the order of writing, including those of tasks that were repeated later."""

    def __post_init__(self) -> None:
        self._files = _files_of(self._records.values())
        self._added = list(self._records.values())

    @property
    def took_over(self) -> str:
        """Message about the dead run whose lock was taken over; empty if there was none."""
        return self._lock.took_over if self._lock else ""

    def records(self) -> list[Record]:
        """Records of all finished tasks, in the order in which they finished."""
        return list(self._records.values())

    def since(self, count: int) -> list[Record]:
        """The records after the first `count`, including those that this run has added."""
        return self._added[count:]

    def done(self, task: str, inputs: str) -> Record | None:
        """The record of a task if it finished with the same inputs; otherwise None."""
        record = self._records.get(task)
        return record if record is not None and record.inputs == inputs else None

    def find(self, task: str) -> Record | None:
        """The record of a task, with any inputs; None if there is none."""
        return self._records.get(task)

    def beat(self) -> None:
        """Renew the lock, so that other hosts do not take it over; call every few seconds.

        Raises:
            StoreError: another run has taken over the lock.
        """
        if self._lock is not None:
            self._lock.beat()

    def _hold(self) -> None:
        """Renew the lock; raise StoreError if another run has taken it over."""
        if self._lock is not None:
            self._lock.renew()

    def append(self, record: Record) -> None:
        """Add the record of a finished task, with the hashes of files kept since the last record.

        The record is on disk when this returns.
        """
        self._hold()
        if self._left:
            files = {**record.outputs.get(FILES, {}), **self._left}
            record = replace(record, outputs={**record.outputs, FILES: files})
        path = self.root / JOURNAL
        line, crc = line_of(record, self._crc)
        # The same data as the next run reads: no tuples, all keys are strings.
        record = replace(record, outputs=json.loads(line)["outputs"], source=path)
        with named(path), path.open("ab") as stream:
            if stream.tell() > self._end:  # incomplete line after a kill or on a full disk
                stream.truncate(self._end)
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())
        self._end, self._crc = self._end + len(line), crc
        self._records.pop(record.task, None)  # a repeated task moves to the end
        self._records[record.task] = record
        self._added.append(record)
        self._files |= record.files
        self._left = {}

    def replace(self, records: Iterable[Record]) -> None:
        """Replace all records of the journal in one step."""
        kept = {record.task: record for record in records}
        content, crc = b"", 0
        for record in kept.values():
            line, crc = line_of(record, crc)
            content += line
        self.write(JOURNAL, content)
        self._records, self._end, self._crc = kept, len(content), crc
        self._added = list(kept.values())
        self._files = _files_of(kept.values())

    def label(self, key: str) -> Label | None:
        """The label with this content address; None if there is none."""
        name = f"labels/{key}.json"
        path = self.root / name
        if not path.is_file():
            return None
        with named(path):
            content = path.read_bytes()
        if self._files.get(name, ANY) not in (ANY, hash_bytes(content)):
            self.checked(name)  # raises, and describes the difference
        label = labels.from_json(content.decode(errors="replace"), path)
        if label.key != key or labels.content_key(label.atoms, label.level) != key:
            wrong = "the frame does not match the file name: damaged or renamed"
            raise ParseError(path, f"{wrong}; restore it from a backup")
        return label

    def add_label(self, label: Label) -> None:
        """Save a label; an existing one is not overwritten."""
        name = f"labels/{label.key}.json"
        if not (self.root / name).exists():
            self.keep(name, labels.to_json(label).encode())
        elif name not in self._files:
            self.vouch(self.root / name)

    def keep(self, name: str, content: bytes) -> Path:
        """Write an output file of a task; its hash is added to the next record."""
        digest = hash_bytes(content)
        if self._files.get(name, digest) not in (digest, ANY):
            # Without this record, a kill before the task's record would leave a wrong hash.
            task, outputs = rewriting_task(name), {FILES: {name: ANY}}
            self.append(Record(task, REWRITING, 0, "", outputs, 0.0, round(now(), 3)))
        path = self.write(name, content)
        self._left[name] = digest
        return path

    def vouch(self, path: Path) -> None:
        """Add the hash of a file that an engine has written to the next record."""
        self._left[path.relative_to(self.root).as_posix()] = file_hash(path)

    def recorded(self) -> dict[str, str]:
        """SHA-256 of each output file of finished tasks, by its path in the campaign."""
        return {name: digest for name, digest in self._files.items() if digest != ANY}

    def digest(self, name: str) -> str:
        """SHA-256 of an output file of a finished task; `ANY` if it is not recorded."""
        return self._files.get(name, ANY)

    def checked(self, name: str) -> Path:
        """Path of an output file of a task.

        Raises:
            ParseError: it is missing or its hash differs from the journal. A file without a
                recorded hash, as in campaigns of earlier versions, only needs to exist.
        """
        check_file(self.root / name, self._files.get(name, ANY))
        return self.root / name

    def check(self) -> None:
        """Raise ParseError if a needed file is missing or its hash differs from the journal.

        Settings and identity are not checked here; they are compared with the campaign file.
        """
        kept = self.recorded()
        last = max(
            (name.split("/")[1] for name in kept if name.startswith("models/gen-")), default=""
        )
        for name in sorted(kept.keys() - {SETTINGS, IDENTITY}):
            if name.startswith(f"{PLUMED_FILES}/"):
                continue
            needed = not MAY_GO.match(name) or name.startswith(f"models/{last}/")
            if needed or (self.root / name).exists():
                self.checked(name)

    def write(self, name: str, content: bytes) -> Path:
        """Write a file of the campaign atomically."""
        self._hold()
        path = self.root / name
        write_file(path, content)
        return path

    def extend(self, name: str, size: int, digest: str, content: bytes) -> str:
        """Make a growing file consist of its first `size` bytes and `content`; see `extend_file`.

        No record holds its hash; the caller knows what it should be.
        """
        self._hold()
        return extend_file(self.root / name, size, digest, content)

    def workplace(self, name: str) -> Path:
        """Path for the new directory of a task; files of an interrupted run are moved away."""
        self._hold()
        path = self.root / name
        with named(path):
            set_aside(path, "interrupted")
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def move(self, name: str, to: str) -> None:
        """Move a file or directory within the campaign."""
        self._hold()
        path = self.root / to
        with named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).rename(path)

    def close(self) -> None:
        """Release the lock."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()


def open_campaign(root: Path, identity: Mapping[str, Any]) -> Store:
    """Create a campaign directory or open an existing one for writing, and lock it.

    Args:
        root: the directory.
        identity: name of the campaign, and fingerprints of the settings that must not change.

    Raises:
        StoreError: locked by another run, of another campaign or schema, or not writable.
    """
    with named(root):
        root.mkdir(parents=True, exist_ok=True)
        foreign = not (root / IDENTITY).exists() and any(
            child.name not in (locking.LOCK, f".{IDENTITY}.part") for child in root.iterdir()
        )
    if foreign:
        raise StoreError(
            f"{root}: not empty and not a campaign directory (it has no {IDENTITY}); choose "
            "another --dir"
        )
    opened = _open(root, identity)
    try:
        if (root / REWINDING).exists():
            raise StoreError(
                f"{root}: a rewind was interrupted; complete it with phasewalk rewind {root} "
                "--round N"
            )
        opened.check()
    except BaseException:
        opened.close()
        raise
    return opened


def reopen_campaign(root: Path) -> Store:
    """Open any existing campaign for writing, also after an interrupted rewind."""
    read_campaign(root)
    return _open(root, {})


def _open(root: Path, identity: Mapping[str, Any]) -> Store:
    lock = locking.take(root)
    try:
        if not (root / IDENTITY).exists():
            text = json.dumps({"schema": SCHEMA, **identity}, indent=1) + "\n"
            write_file(root / IDENTITY, text.encode())
        records, end, crc = read_journal(root / JOURNAL)
        _same_identity(root, identity, {record.stage for record in records.values()})
        if not records and any((root / "labels").glob("*.json")):
            raise StoreError(
                f"{root / JOURNAL}: missing or empty, but labels exist; restore it from a backup, "
                "or choose another --dir"
            )
        return Store(root, records, end, crc, lock)
    except BaseException:
        lock.release()
        raise


def read_campaign(root: Path) -> Store:
    """Open a campaign directory read-only, also while the campaign runs."""
    if not (root / IDENTITY).is_file():
        raise StoreError(f"{root}: not a campaign directory (it has no {IDENTITY})")
    read_identity(root)
    return Store(root, *read_journal(root / JOURNAL))


def read_identity(root: Path) -> dict[str, Any]:
    """The identity that `open_campaign` wrote; StoreError if its schema is a different one."""
    path = root / IDENTITY
    unlike = "not a valid campaign identity"
    found = read(path, Identity, unlike=unlike)
    if found.version != SCHEMA:
        raise StoreError(
            f"{root}: written by another version of phasewalk (schema {brief(found.version)}, this "
            f"one reads {SCHEMA}); start a new --dir"
        )
    if not found.name:
        raise ParseError(path, f"{unlike} (it has no name)")
    return found.dump()


def check_kept(path: Path) -> None:
    """Raise ParseError if a file belongs to a campaign and its hash differs from the journal."""
    place = path.absolute()
    for root in place.parents:
        if (root / IDENTITY).is_file():
            store, name = read_campaign(root), place.relative_to(root).as_posix()
            if name in store.recorded():
                store.checked(name)
            return


def settings_text(root: Path) -> tuple[str, str]:
    """Settings of the last run of a campaign, and the name of their file."""
    path = root / SETTINGS
    return read_text(path), str(path)


def _same_identity(root: Path, identity: Mapping[str, Any], stages: set[str]) -> None:
    """Raise StoreError if a campaign's identity has changed.

    The network may change until the first training, because labels do not depend on it.
    """
    found = read_identity(root)
    free = () if TRAIN in stages else ("model", "model overrides")
    for key, wanted in identity.items():
        if found.get(key) != wanted and key not in free:
            before = found.get(key)
            if isinstance(before, dict) and isinstance(wanted, dict):
                what = f"{key} differs (directory | file: {levels.difference(before, wanted)})"
            else:
                what = f"{key} is {brief(repr(before))} there and {wanted!r} in the campaign file"
            raise StoreError(
                f"{root}: belongs to another campaign: {what}; labels and models depend on it "
                "(rounds, walkers, segment, budgets, policy and candidates may change); choose "
                "another --dir"
            )
    if any(found.get(key) != identity.get(key, found.get(key)) for key in free):
        changed = {**found, **identity}
        write_file(root / IDENTITY, (json.dumps(changed, indent=1) + "\n").encode())


def now() -> float:
    """Wall-clock time, seconds since 1970."""
    return time.time()
