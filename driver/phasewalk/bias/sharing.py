"""Which hills files a walker reads and writes, by the way in which its system shares its bias.

    merged   each walker feels all hills of earlier rounds and its own new ones; rounds merge them
    own      each walker feels its own hills alone
    live     through files: walkers see each other's new hills at every METAD pace, in an order that
             depends on the machine; history stands in the first walker's file alone, since each
             reads the files of all
    mpi      as live, in step with each other, where PLUMED was built with MPI; one file for all,
             which the first walker writes

METAD restarts exactly where a file with history is there (a restart without one is an error). No
file of a segment is ever read twice by the same walker, so no hill can count twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from . import dumps, hills, plumed
from .hills import Deposit, Hill, HillsRecord

BiasSharing = Literal["merged", "live", "mpi", "own"]

_NOTHING = dumps.HillsFile((), (), dumps.Table((), {}, np.zeros((0, 0))), False)


@dataclass(frozen=True)
class HillsOnDisk:
    """The hills file of one METAD action of one walker.

    Attributes:
        action: key of the METAD action.
        words: what METAD is told.
        name: of the file that METAD writes.
        content: what stands in it before the segment; '' for no file.
        depositors: whose new hills it will hold, in their order; empty where another walker's
            file holds them.
    """

    action: str
    words: plumed.MetadFiles
    name: str
    content: str
    depositors: tuple[str, ...]


def on_disk(
    record: HillsRecord,
    *,
    actions: Mapping[str, plumed.Action],
    mode: BiasSharing,
    walker: str,
    members: Sequence[str],
) -> tuple[HillsOnDisk, ...]:
    """The hills files of one walker.

    Args:
        record: hills of earlier rounds.
        actions: of `plumed.metad_actions`.
        mode: how the system's walkers share hills within a segment.
        walker: id.
        members: ids of all walkers of the system in this segment, in their order.
    """
    alone = len(members) == 1 and mode != "own"
    layout = (
        _merged if alone else {"merged": _merged, "own": _own, "live": _live, "mpi": _mpi}[mode]
    )
    return tuple(layout(record, action, walker, tuple(members)) for action in actions)


def read_new(
    item: HillsOnDisk, deposit: Deposit, *, directory: Path, partition: int
) -> tuple[tuple[Hill, ...], tuple[str, ...]]:
    """New hills and header lines of a walker's file after the segment.

    A PLUMED with MPI appends the partition's number to names of files that it writes, unless
    walkers share hills; the history then stands in the plain file alone.
    """
    plain, suffixed = directory / item.name, directory / f"{item.name}.{partition}"
    apart = item.words.walkers == 1 and not item.words.mpi and suffixed.is_file()
    path = suffixed if apart else plain
    found = dumps.read_hills(path) if path.is_file() else _NOTHING
    history = 0 if apart else hills.check_history(found, item.content, path=path)
    return hills.new_hills(found, deposit, history=history, path=path), found.header


def _merged(record: HillsRecord, action: str, walker: str, members: tuple[str, ...]) -> HillsOnDisk:
    return _separate(action, walker, hills.render(record, action=action))


def _own(record: HillsRecord, action: str, walker: str, members: tuple[str, ...]) -> HillsOnDisk:
    return _separate(action, walker, hills.render(record, action=action, walker=walker))


def _separate(action: str, walker: str, content: str) -> HillsOnDisk:
    name = f"{walker}.{action}.hills"
    words = plumed.MetadFiles(name, restart=bool(content))
    return HillsOnDisk(action, words, name, content, (walker,))


def _live(record: HillsRecord, action: str, walker: str, members: tuple[str, ...]) -> HillsOnDisk:
    position = members.index(walker)
    history = hills.render(record, action=action)
    name = f"{record.system}.{action}.hills"
    words = plumed.MetadFiles(name, bool(history), walkers=len(members), walker_id=position)
    content = history if position == 0 or not history else hills.header(record, action=action)
    return HillsOnDisk(action, words, f"{name}.{position}", content, (walker,))


def _mpi(record: HillsRecord, action: str, walker: str, members: tuple[str, ...]) -> HillsOnDisk:
    history = hills.render(record, action=action)
    name = f"{record.system}.{action}.hills"
    words = plumed.MetadFiles(name, bool(history), mpi=True)
    return HillsOnDisk(action, words, name, history, members if walker == members[0] else ())
