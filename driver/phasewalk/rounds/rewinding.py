"""Rewind: restore the state of a campaign right after a round. Nothing is deleted.

Files of later rounds and the final model are moved to `rewound-K`. Labels and compilations, which
are named by their content, stay. A kill at any point is harmless because of the order:

1. the journal is copied to `rewinding/` atomically;
2. the journal is replaced atomically by its first part; the campaign is now in the earlier state,
   and files of later rounds are not used any more;
3. files of later rounds are moved to `rewinding/`, one by one;
4. `rewinding/` is renamed to `rewound-K`.

The journal is replaced first, because it must never name a file that was moved. While `rewinding/`
exists, `run` does not start (it might use hills of a later round), and another rewind completes it;
an existing copy of the journal is kept, because it is the older one.
"""

import re
from collections.abc import Sequence, Set
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ..errors import InputError
from ..store import (
    END,
    FILES,
    FINAL,
    JOURNAL,
    REWINDING,
    REWRITING,
    Record,
    Store,
    at_end,
    evaluate_task,
    reopen_campaign,
)

BY_ROUND = ("rounds/*", "bias/*/round-*", "models/gen-*", "fes/gen-*")
"""Files of each round, with its number in their names."""
AT_END = (f"models/{FINAL}*", f"rounds/*/*-{FINAL}*", f"fes/{FINAL}*")
"""Files of the final model, which belongs to the last round with a generation."""


@dataclass(frozen=True)
class Rewound:
    """Result of a rewind.

    Attributes:
        round: the last round that is kept.
        place: directory to which files were moved; None if there were none.
        moved: content of this directory.
        labels: number of label files of the campaign.
        took_over: message about a dead run whose lock was taken over.
    """

    round: int
    place: Path | None
    moved: tuple[str, ...]
    labels: int
    took_over: str

    def lines(self) -> list[str]:
        """The result as lines of text."""
        after = f"round {self.round}" if self.round else "the bootstrap"
        if self.place is None:
            done = f"nothing to move: the campaign is already in the state right after {after}"
        else:
            moved = ", ".join(self.moved)
            done = f"restored the state right after {after}; moved to {self.place}: {moved}"
        kept = f"{self.labels} labels are kept and will be reused"
        return [line for line in (self.took_over, done, kept) if line]


def rewind(root: Path, round_: int) -> Rewound:
    """Restore the state right after a round, or complete an interrupted rewind.

    Args:
        root: the campaign directory.
        round_: the last round that is kept; 0 for the bootstrap and its generation.

    Raises:
        InputError: the round is not finished.
        StoreError: not a campaign directory, or in use by a run.
    """
    if round_ < 0:
        raise InputError(f"--round {round_}: use 0 (right after the bootstrap) or a later round")
    with closing(reopen_campaign(root)) as store:
        records = store.records()
        last = last_finished(records)
        if round_ > last:
            has = f"finished round {last}" if last > 0 else "finished the bootstrap (0)"
            raise InputError(
                f"--round {round_}: the campaign has {has if last >= 0 else 'finished nothing'}; "
                "give an earlier round, or continue with `phasewalk run`"
            )
        later = _later(root, round_)
        kept = _kept(records, round_, later)
        place = None
        if len(kept) < len(records) or later or (root / REWINDING).exists():
            place = _set_aside(store, kept, later)
        return Rewound(
            round_,
            place,
            tuple(_listing(place)) if place else (),
            len(list((root / "labels").glob("*.json"))),
            store.took_over,
        )


def _kept(records: Sequence[Record], round_: int, later: Sequence[str]) -> list[Record]:
    """The records up to a round, without the hashes of files that are moved.

    Those of a file that was written again are in a record that belongs to no round.
    """
    moved, found = set(later), []
    for record in records:
        if record.round > round_ or at_end(record):
            continue
        files = record.outputs.get(FILES, {})
        left = {name: digest for name, digest in files.items() if not _is_in(name, moved)}
        if len(left) < len(files):
            record = replace(record, outputs={**record.outputs, FILES: left})
        if left or record.stage != REWRITING:
            found.append(record)
    return found


def _is_in(name: str, moved: Set[str]) -> bool:
    """Whether a file, or a folder that it is in, is moved."""
    return not moved.isdisjoint([name, *map(str, PurePosixPath(name).parents)])


def last_finished(records: Sequence[Record]) -> int:
    """The last finished round; −1 if the bootstrap is not finished.

    A round without labels, and therefore without a generation, is finished if a later round has
    started or the campaign has ended.
    """
    started = max((record.round for record in records), default=-1)
    learned = evaluate_task(started, started)
    done = any(
        record.task == learned or (record.stage, record.round) == (END, started)
        for record in records
    )
    return started if done or started < 0 else started - 1


def _later(root: Path, round_: int) -> list[str]:
    """Files of later rounds and of the final model."""
    found = [
        path
        for pattern in BY_ROUND
        for path in root.glob(pattern)
        if (number := re.match(r"(?:round-|gen-)?(\d+)", path.name)) and int(number[1]) > round_
    ]
    final = [path for pattern in AT_END for path in root.glob(pattern) if path.parent not in found]
    return sorted(str(path.relative_to(root)) for path in (*found, *final))


def _set_aside(store: Store, kept: Sequence[Record], later: Sequence[str]) -> Path:
    """The steps described in the module's docstring."""
    root = store.root
    if not (root / REWINDING / JOURNAL).exists():
        store.write(f"{REWINDING}/{JOURNAL}", (root / JOURNAL).read_bytes())
    store.replace(kept)
    for name in later:
        # The directory of a kept round itself must remain available.
        to = re.sub(r"^(rounds/\d+)/", r"\1-", name)
        store.move(name, f"{REWINDING}/{to}")
    number = 1
    while (root / f"rewound-{number}").exists():
        number += 1
    store.move(REWINDING, f"rewound-{number}")
    return root / f"rewound-{number}"


def _listing(place: Path) -> list[str]:
    """Content of a directory of moved files: journal, rounds, hills, generations."""
    patterns = (JOURNAL, "rounds/*", "bias/*/*", "models/*", "fes/*")
    found = [path for pattern in patterns for path in place.glob(pattern)]
    return sorted(str(path.relative_to(place)) for path in found)
