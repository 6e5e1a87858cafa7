"""The hills files that a walker reads and writes, for each setting of bias_sharing.

    merged   a walker uses all hills of earlier rounds and its own new ones
    own      a walker uses only its own hills
    live     through files: walkers read each other's new hills every PACE steps, in an order that
             depends on the timing
    mpi      as live, but synchronized, if PLUMED was built with MPI; the first walker writes one
             file for all

The hills of earlier rounds are in one file per METAD action (with `own`, per walker and action), to
which each round appends. PLUMED treats this file as one more walker (`WALKERS_ID=0`) that deposits
no hills: all walkers link it, read it once, and write their new hills to other files. MPI walkers
cannot share hills through files at the same time; they append to a copy.

METAD restarts if and only if there are earlier hills (a restart without a file is an error). A
walker never reads a file of a segment twice, so that no hill is counted twice.
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
"""Number of steps between reading a file that does not change while walkers run."""
_NOTHING = dumps.HillsFile((), (), dumps.Table((), {}, np.zeros((0, 0))), False)


@dataclass(frozen=True)
class HistoryFile:
    """A file with the hills of earlier rounds, with its size and hash."""

    path: Path
    mark: Mark


@dataclass(frozen=True)
class History:
    """The hills that the walkers of a system start a segment with.

    Attributes:
        headers: `#!` lines of the HILLS file of each METAD action.
        files: files of earlier hills by `file_key`; without those that have no hills.
        earlier: number of hills of earlier rounds, including inactive ones.
        cuts: hills that became inactive at the start of this round.
        apart: each walker starts only with its own hills.
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
        words: keywords for METAD.
        name: name of the file that METAD writes.
        content: its content before the segment; '' if there is no file.
        depositors: walkers whose new hills it will contain, in their order; empty if these are in
            the file of another walker.
        history: file of earlier hills; None if there are none.
        history_name: its name in the segment's directory; `name` if METAD appends to a copy.
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
        """Whether METAD appends new hills to the file of earlier ones."""
        return self.history is not None and self.history_name == self.name


def file_key(action: str, walker: str | None = None) -> str:
    """Name of a file of earlier hills, of one walker or of all, without suffix."""
    return action if walker is None else f"{walker}.{action}"


def texts(record: HillsRecord, *, apart: bool) -> dict[str, str]:
    """The HILLS files of all METAD actions (and walkers, if `apart`) that have active hills."""
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
        history: the hills that it starts with.
        system: name of the system.
        actions: METAD actions from `plumed.metad_actions`.
        mode: how the system's walkers share hills within a segment.
        walker: id of the walker.
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
    """Read the new hills and the header lines of a walker's file after the segment.

    PLUMED with MPI appends the partition's number to the names of output files, unless walkers
    share hills.

    Raises:
        EngineFailed: hills are missing or duplicated, or earlier ones have changed.
    """
    plain, suffixed = directory / item.name, directory / f"{item.name}.{partition}"
    apart = item.words.walkers == 1 and not item.words.mpi and suffixed.is_file()
    path, start = suffixed if apart else plain, 0
    if item.history is not None and item.appends:
        start = item.history.mark.size
        if hash_start(path, start) != item.history.mark.digest:
            raise EngineFailed(
                f"{path}: the first {start} bytes (hills of earlier rounds) have changed during "
                "the segment; run the segment again"
            )
    found = dumps.read_hills(path, start) if path.is_file() else _NOTHING
    return hills.new_hills(found, deposit, path=path), found.header


def _head(history: History, action: str) -> str:
    """The header of a HILLS file."""
    return "".join(f"{line}\n" for line in history.headers.get(action, ()))


def _separate(history: History, action: str, walker: str, key: str | None) -> HillsOnDisk:
    """Files of a walker that shares no hills during a segment and reads earlier ones."""
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
