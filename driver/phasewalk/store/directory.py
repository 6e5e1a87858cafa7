"""The campaign directory: atomic writes, append-only journal, labels, lock. Plain files only.

campaign.yaml    the settings as they were given
campaign.json    schema, name, and the fingerprint of what must not change
journal.jsonl    one line for each finished task
labels/          one file for each label, named by its content
rounds/003/…     what the tasks of a round wrote
models/gen-003/  checkpoint and deployed models
bias/<system>/   hills of each round
plumed/          copies of the files that PLUMED reads beside its texts
rewound-1/       what a rewind has set aside
lock             who works here now
"""

import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import Field

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
from .records_outputs import Part

JOURNAL, IDENTITY, SETTINGS = "journal.jsonl", "campaign.json", "campaign.yaml"
PLUMED_FILES = "plumed"
"""Where copies of the files that PLUMED reads beside its texts are."""
REWINDING = "rewinding"
"""Where an unfinished rewind sets aside; see `rewinding`."""

MAY_GO = re.compile(r"rounds/\d+/(frames-|[^/]+/)|models/(compiled|gen-\d+)/")
"""What a campaign goes on without; the last generation's files are needed all the same."""


def _files_of(records: Iterable[Record]) -> dict[str, str]:
    """The files that tasks have left; the last record of a file counts."""
    found: dict[str, str] = {}
    for record in records:
        found |= record.files
    return found


@dataclass
class Store:
    """A campaign directory that is open for work (locked) or for reading."""

    root: Path
    _records: dict[str, Record] = field(default_factory=dict)
    _end: int = 0
    """Bytes of the journal's whole lines."""
    _crc: int = 0
    """Checksum of these."""
    _lock: Lock | None = None
    _files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of what the finished tasks have left."""
    _left: dict[str, str] = field(default_factory=dict)
    """The same of what was left since the last record: the next one takes it."""

    _added: list[Record] = field(default_factory=list)
    """All records in the order in which they came, also those of what was done again later."""

    def __post_init__(self) -> None:
        self._files = _files_of(self._records.values())
        self._added = list(self._records.values())

    @property
    def took_over(self) -> str:
        """What is to be said of a dead run whose lock was taken over; empty where none was."""
        return self._lock.took_over if self._lock else ""

    def records(self) -> list[Record]:
        """All finished tasks, in the order in which they ended."""
        return list(self._records.values())

    def since(self, count: int) -> list[Record]:
        """The records that were added after the first `count`, also while this one works."""
        return self._added[count:]

    def done(self, task: str, inputs: str) -> Record | None:
        """The task's record where it was done with the same inputs."""
        record = self._records.get(task)
        return record if record is not None and record.inputs == inputs else None

    def find(self, task: str) -> Record | None:
        """The task's record, whatever it was made from."""
        return self._records.get(task)

    def beat(self) -> None:
        """Show other hosts that this run lives; to be called every few seconds.

        Raises:
            StoreError: another run took over.
        """
        if self._lock is not None:
            self._lock.beat()

    def _hold(self) -> None:
        """Raise StoreError where another run took over: nothing is written any more."""
        if self._lock is not None:
            self._lock.renew()

    def append(self, record: Record) -> None:
        """Add a finished task, with the hashes of all files that were kept since the last one.

        It is on disk when this returns.
        """
        self._hold()
        if self._left:
            files = {**record.outputs.get(FILES, {}), **self._left}
            record = replace(record, outputs={**record.outputs, FILES: files})
        path = self.root / JOURNAL
        line, crc = line_of(record, self._crc)
        # As the next run reads it: without tuples, and with text for each key.
        record = replace(record, outputs=json.loads(line)["outputs"], source=path)
        with named(path), path.open("ab") as stream:
            if stream.tell() > self._end:  # a kill or a full disk has left a part of a line
                stream.truncate(self._end)
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())
        self._end, self._crc = self._end + len(line), crc
        self._records.pop(record.task, None)  # one that was done again stands where it ended now
        self._records[record.task] = record
        self._added.append(record)
        self._files |= record.files
        self._left = {}

    def replace(self, records: Iterable[Record]) -> None:
        """Make these the only finished tasks, all at once."""
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
        """The label of that content address, if there is one."""
        name = f"labels/{key}.json"
        path = self.root / name
        if not path.is_file():
            return None
        with named(path):
            content = path.read_bytes()
        if self._files.get(name, ANY) not in (ANY, hash_bytes(content)):
            self.checked(name)  # says what is wrong with it
        label = labels.from_json(content.decode(errors="replace"), path)
        if label.key != key or labels.content_key(label.atoms, label.level) != key:
            raise ParseError(path, "holds another frame than its name says: damaged, or renamed")
        return label

    def add_label(self, label: Label) -> None:
        """Keep a label; never overwrites one."""
        name = f"labels/{label.key}.json"
        if not (self.root / name).exists():
            self.keep(name, labels.to_json(label).encode())
        elif name not in self._files:
            self.vouch(self.root / name)

    def keep(self, name: str, content: bytes) -> Path:
        """Write what a task leaves; its hash goes into the journal with the next record."""
        digest = hash_bytes(content)
        if self._files.get(name, digest) not in (digest, ANY):
            # A kill between the file and its record must not leave a file that nothing explains.
            what, told = rewriting_task(name), {FILES: {name: ANY}}
            self.append(Record(what, REWRITING, 0, "", told, 0.0, round(now(), 3)))
        path = self.write(name, content)
        self._left[name] = digest
        return path

    def vouch(self, path: Path) -> None:
        """Take the hash of what an engine has left into the journal, with the next record."""
        self._left[path.relative_to(self.root).as_posix()] = file_hash(path)

    def recorded(self) -> dict[str, str]:
        """SHA-256 of each file that finished tasks have left, by its place in the campaign."""
        return {name: digest for name, digest in self._files.items() if digest != ANY}

    def digest(self, name: str) -> str:
        """SHA-256 of a file that a finished task has left; `ANY` if it is not recorded."""
        return self._files.get(name, ANY)

    def checked(self, name: str) -> Path:
        """Where a file is that a task has left.

        Raises:
            ParseError: it is missing, or is not what the journal holds. A file whose hash is not
                recorded, as in campaigns of earlier versions, only needs to be there.
        """
        check_file(self.root / name, self._files.get(name, ANY))
        return self.root / name

    def check(self) -> None:
        """Raise ParseError where anything differs from what the journal holds, or is missing.

        Settings and identity are compared with the campaign file, and not here.
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
        """Write a file of the campaign whole or not at all."""
        self._hold()
        path = self.root / name
        write_file(path, content)
        return path

    def extend(self, name: str, size: int, digest: str, content: bytes) -> str:
        """Make a file that grows its first `size` bytes and `content`; see `extend_file`.

        No record holds its hash: who needs it says what it should be.
        """
        self._hold()
        return extend_file(self.root / name, size, digest, content)

    def workplace(self, name: str) -> Path:
        """A fresh directory for a task; what an interrupted run left there is set aside."""
        self._hold()
        path = self.root / name
        with named(path):
            set_aside(path, "interrupted")
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def move(self, name: str, to: str) -> None:
        """Move a file or directory of the campaign to another place in it."""
        self._hold()
        path = self.root / to
        with named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).rename(path)

    def close(self) -> None:
        """Give up the lock."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()


def open_campaign(root: Path, identity: Mapping[str, Any]) -> Store:
    """Make or reopen a campaign directory for work, and lock it.

    Args:
        root: the directory.
        identity: name and fingerprints of what must stay the same as long as the campaign lives.

    Raises:
        StoreError: locked by another run, another campaign's, of another schema, not writable.
    """
    with named(root):
        root.mkdir(parents=True, exist_ok=True)
        foreign = not (root / IDENTITY).exists() and any(
            child.name not in (locking.LOCK, f".{IDENTITY}.part") for child in root.iterdir()
        )
    if foreign:
        raise StoreError(f"{root}: not empty and not a campaign; choose another --dir")
    opened = _open(root, identity)
    try:
        if (root / REWINDING).exists():
            raise StoreError(
                f"{root}: a rewind was interrupted; finish it: phasewalk rewind {root} --round N"
            )
        opened.check()
    except BaseException:
        opened.close()
        raise
    return opened


def reopen_campaign(root: Path) -> Store:
    """Open what is a campaign already, whichever, for work; also where a rewind was interrupted."""
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
                f"{root / JOURNAL}: is missing or empty, but labels are there; restore it from a "
                "backup, or choose another --dir"
            )
        return Store(root, records, end, crc, lock)
    except BaseException:
        lock.release()
        raise


def read_campaign(root: Path) -> Store:
    """Open a campaign directory for reading alone, also while it runs."""
    if not (root / IDENTITY).is_file():
        raise StoreError(f"{root}: not a campaign directory (it has no {IDENTITY})")
    read_identity(root)
    return Store(root, *read_journal(root / JOURNAL))


class _Identity(Part):
    """What every campaign's identity has; the rest is for those who wrote it."""

    version: Any = Field(alias="schema")
    name: str


def read_identity(root: Path) -> dict[str, Any]:
    """What `open_campaign` wrote; StoreError where the schema is another."""
    path = root / IDENTITY
    found = read(path, _Identity, unlike="not readable as a campaign's identity")
    if found.version != SCHEMA:
        raise StoreError(
            f"{root}: written by another version of phasewalk (schema {brief(found.version)}, this "
            f"one reads {SCHEMA}); start a new --dir"
        )
    return found.dump()


def check_kept(path: Path) -> None:
    """ParseError where a file lies in a campaign, and is not what its journal holds."""
    place = path.absolute()
    for root in place.parents:
        if (root / IDENTITY).is_file():
            store, name = read_campaign(root), place.relative_to(root).as_posix()
            if name in store.recorded():
                store.checked(name)
            return


def settings_text(root: Path) -> tuple[str, str]:
    """The settings that a campaign was last run with, and their file's name."""
    path = root / SETTINGS
    return read_text(path), str(path)


def _same_identity(root: Path, identity: Mapping[str, Any], stages: set[str]) -> None:
    """Raise StoreError where a campaign's identity has changed.

    The network may still change as long as none was trained: labels do not depend on it.
    """
    found = read_identity(root)
    free = () if TRAIN in stages else ("model", "model overrides")
    for key, wanted in identity.items():
        if found.get(key) != wanted and key not in free:
            before = found.get(key)
            if isinstance(before, dict) and isinstance(wanted, dict):
                told = f"its {key} differs (directory | file: {levels.difference(before, wanted)})"
            else:
                told = f"its {key} is {brief(repr(before))}, this one's is {wanted!r}"
            raise StoreError(
                f"{root}: belongs to another campaign: {told}, and its labels and models are of "
                "that (rounds, walkers, segment, budgets, policy, candidates may change); choose "
                "another --dir"
            )
    if any(found.get(key) != identity.get(key, found.get(key)) for key in free):
        changed = {**found, **identity}
        write_file(root / IDENTITY, (json.dumps(changed, indent=1) + "\n").encode())


def now() -> float:
    """Wall clock, seconds since 1970."""
    return time.time()
