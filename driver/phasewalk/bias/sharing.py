"""Which hills files a walker reads and writes, by the way in which its system shares its bias.

    merged   each walker feels all hills of earlier rounds and its own new ones; rounds merge them
    own      each walker feels its own hills alone
    live     through files: walkers see each other's new hills at every METAD pace, in an order that
             depends on the machine
    mpi      as live, in step with each other, where PLUMED was built with MPI; one file for all,
             which the first walker writes

The hills of earlier rounds are in one file for each METAD action (for each walker and action with
`own`), which grows by those of a round. To PLUMED that file is a walker (`WALKERS_ID=0`) that lays
no hills: all walkers link it, read it once, and write their own new hills elsewhere. MPI walkers
cannot share through files as well: they append to a copy of it.

METAD restarts exactly if there are earlier hills (a restart without a file is an error). No file of
a segment is ever read twice by the same walker, so no hill can count twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import EngineFailed
from ..files import hash_start
from . import dumps, hills, plumed
from .hill_tables import Mark
from .hills import Cut, Deposit, Hill, HillsRecord

BiasSharing = Literal["merged", "live", "mpi", "own"]

NEVER = 10**9
"""Steps between looks at a file that does not grow while walkers run."""
_NOTHING = dumps.HillsFile((), (), dumps.Table((), {}, np.zeros((0, 0))), False)


@dataclass(frozen=True)
class HistoryFile:
    """A file with the hills of earlier rounds, and how far it reaches."""

    path: Path
    mark: Mark


@dataclass(frozen=True)
class History:
    """The hills that the walkers of a system begin a segment with.

    Attributes:
        headers: `#!` lines of the HILLS file of each METAD action.
        files: by `file_key`; those without hills are missing.
        earlier: number of hills of earlier rounds, those included that do not count any more.
        cuts: hills that do not count any more since this round was begun.
        apart: each walker begins with its own hills alone.
    """

    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, HistoryFile] = field(default_factory=dict)
    earlier: int = 0
    cuts: tuple[Cut, ...] = ()
    apart: bool = False


@dataclass(frozen=True)
class HillsOnDisk:
    """The hills files of one METAD action of one walker.

    Attributes:
        action: key of the METAD action.
        words: what METAD is told.
        name: of the file that METAD writes.
        content: what is in it before the segment; '' for no file.
        depositors: whose new hills it will hold, in their order; empty if another walker's file
            holds them.
        history: file of earlier hills; None without any.
        history_name: of that file in the segment's directory; `name` if METAD appends to a copy.
    """

    action: str
    words: plumed.MetadFiles
    name: str
    content: str
    depositors: tuple[str, ...]
    history: HistoryFile | None = None
    history_name: str = ""

    @property
    def appends(self) -> bool:
        """Whether new hills follow earlier ones in the same file."""
        return self.history is not None and self.history_name == self.name


def file_key(action: str, walker: str | None = None) -> str:
    """Name of a file of earlier hills, of a walker or of all, without its ending."""
    return action if walker is None else f"{walker}.{action}"


def texts(record: HillsRecord, *, apart: bool) -> dict[str, str]:
    """The HILLS file of each METAD action (and walker, if `apart`) that has active hills."""
    parts: list[tuple[str | None, HillsRecord]] = [(None, record)]
    if apart:
        parts = list(hills.by_walker(record).items())
    return {
        file_key(action, walker): text
        for walker, part in parts
        for action in record.headers
        if (text := hills.render(part, action=action))
    }


def on_disk(
    history: History,
    *,
    system: str,
    actions: Mapping[str, plumed.Action],
    mode: BiasSharing,
    walker: str,
    members: Sequence[str],
) -> tuple[HillsOnDisk, ...]:
    """The hills files of one walker.

    Args:
        history: what it begins with.
        system: its name.
        actions: of `plumed.metad_actions`.
        mode: how the system's walkers share hills within a segment.
        walker: id.
        members: ids of all walkers of the system in this segment, in their order.
    """
    alone = len(members) == 1 and mode != "own"
    if alone or mode in ("merged", "own"):
        key = walker if mode == "own" else None
        return tuple(_separate(history, action, walker, key) for action in actions)
    layout = _live if mode == "live" else _mpi
    return tuple(layout(history, action, system, walker, tuple(members)) for action in actions)


def read_new(
    item: HillsOnDisk, deposit: Deposit, *, directory: Path, partition: int
) -> tuple[tuple[Hill, ...], tuple[str, ...]]:
    """New hills and header lines of a walker's file after the segment.

    A PLUMED with MPI appends the partition's number to names of files that it writes, unless
    walkers share hills.

    Raises:
        EngineFailed: hills are missing or doubled, or earlier ones have changed.
    """
    plain, suffixed = directory / item.name, directory / f"{item.name}.{partition}"
    apart = item.words.walkers == 1 and not item.words.mpi and suffixed.is_file()
    path, start = suffixed if apart else plain, 0
    if item.history is not None and item.appends:
        start = item.history.mark.size
        if hash_start(path, start) != item.history.mark.digest:
            raise EngineFailed(
                f"{path}: its first {start} bytes, the hills of earlier rounds, are not as they "
                "were written; run the segment again"
            )
    found = dumps.read_hills(path, start) if path.is_file() else _NOTHING
    return hills.new_hills(found, deposit, path=path), found.header


def _head(history: History, action: str) -> str:
    """A HILLS file without hills."""
    return "".join(f"{line}\n" for line in history.headers.get(action, ()))


def _separate(history: History, action: str, walker: str, key: str | None) -> HillsOnDisk:
    """The walker shares nothing while it runs: the only other one is the file of earlier hills."""
    name = f"{walker}.{action}.hills"
    file = history.files.get(file_key(action, key))
    if file is None:
        words = plumed.MetadFiles(name, restart=False)
        return HillsOnDisk(action, words, name, "", (walker,))
    words = plumed.MetadFiles(name, restart=True, walkers=2, walker_id=1, stride=NEVER)
    head = _head(history, action)
    return HillsOnDisk(action, words, f"{name}.1", head, (walker,), file, f"{name}.0")


def _live(
    history: History, action: str, system: str, walker: str, members: tuple[str, ...]
) -> HillsOnDisk:
    position, count = members.index(walker), len(members)
    name = f"{system}.{action}.hills"
    file = history.files.get(file_key(action))
    if file is None:
        words = plumed.MetadFiles(name, restart=False, walkers=count, walker_id=position)
        return HillsOnDisk(action, words, f"{name}.{position}", "", (walker,))
    number = position + 1
    words = plumed.MetadFiles(name, restart=True, walkers=count + 1, walker_id=number)
    head = _head(history, action)
    return HillsOnDisk(action, words, f"{name}.{number}", head, (walker,), file, f"{name}.0")


def _mpi(
    history: History, action: str, system: str, walker: str, members: tuple[str, ...]
) -> HillsOnDisk:
    name = f"{system}.{action}.hills"
    file = history.files.get(file_key(action))
    words = plumed.MetadFiles(name, restart=file is not None, mpi=True)
    depositors = members if walker == members[0] else ()
    return HillsOnDisk(action, words, name, "", depositors, file, name if file else "")
