"""Rewind: back to where a campaign stood right after a round. Nothing is deleted.

What came later, and the final model, moves to `rewound-K`; labels and compilations are named by
their content and stay. The order makes a kill at any point harmless:

1. the journal is copied to `rewinding/`, whole or not at all: nothing has changed yet;
2. the journal is replaced by what is kept of it, whole or not at all: from here on the campaign
   stands after that round, and what lies around of later ones counts for nothing;
3. what came later is moved to `rewinding/`, one rename each;
4. `rewinding/` becomes `rewound-K`.

The journal goes first, since it must never name a file that has moved. As long as there is a
`rewinding/`, `run` refuses the directory (it might take up hills of a later round), and another
rewind goes on with it: a copy of the journal that is there already is the older one, and stays.
"""

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..store import (
    END,
    FINAL,
    JOURNAL,
    REWINDING,
    Record,
    Store,
    at_end,
    evaluate_task,
    reopen_campaign,
)

BY_ROUND = ("rounds/*", "bias/*/round-*", "models/gen-*", "fes/gen-*")
"""What a campaign keeps of each round, with the round's number in its name."""
AT_END = (f"models/{FINAL}*", f"rounds/*/*-{FINAL}*", f"fes/{FINAL}*")
"""What it keeps of the final model, which counts to the last round that made a generation."""


@dataclass(frozen=True)
class Rewound:
    """What a rewind did.

    Attributes:
        round: the last one that is kept.
        place: where the rest was set aside; None where there was nothing to set aside.
        moved: what lies there now.
        labels: how many label files the campaign keeps.
        took_over: what is to be said of a dead run whose lock was taken over.
    """

    round: int
    place: Path | None
    moved: tuple[str, ...]
    labels: int
    took_over: str

    def lines(self) -> list[str]:
        """The same for people."""
        after = f"round {self.round}" if self.round else "the bootstrap"
        if self.place is None:
            done = f"nothing to set aside: the campaign stands right after {after}"
        else:
            moved = ", ".join(self.moved)
            done = f"back to right after {after}; set aside in {self.place}: {moved}"
        kept = f"{self.labels} labels are kept: where they are needed again, they are found"
        return [line for line in (self.took_over, done, kept) if line]


def rewind(root: Path, round_: int) -> Rewound:
    """Go back to where the campaign stood right after a round, or finish doing so.

    Args:
        root: the campaign's directory.
        round_: the last round that is kept; 0 for the bootstrap and its generation.

    Raises:
        InputError: that round is not finished; StoreError: not a campaign, or a run works there.
    """
    if round_ < 0:
        raise InputError(f"--round {round_}: use 0 (right after the bootstrap) or a later round")
    with closing(reopen_campaign(root)) as store:
        records = store.records()
        last = last_finished(records)
        if round_ > last:
            has = f"finished round {last}" if last > 0 else "finished the bootstrap (0)"
            raise InputError(
                f"--round {round_}: the campaign has {has if last >= 0 else 'finished nothing'}, "
                "and a rewind only goes back; `phasewalk run` goes on"
            )
        kept = [record for record in records if record.round <= round_ and not at_end(record)]
        later = _later(root, round_)
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


def last_finished(records: Sequence[Record]) -> int:
    """The last round that was done to its end; −1 where not even the bootstrap was.

    A round that gave no label, and so no generation, is done where a later one has begun, or the
    campaign has ended.
    """
    begun = max((record.round for record in records), default=-1)
    learned = evaluate_task(begun, begun)
    done = any(
        record.task == learned or (record.stage, record.round) == (END, begun) for record in records
    )
    return begun if done or begun < 0 else begun - 1


def _later(root: Path, round_: int) -> list[str]:
    """What lies in the directory of later rounds, and of the final model."""
    found = [
        path
        for pattern in BY_ROUND
        for path in root.glob(pattern)
        if (number := re.match(r"(?:round-|gen-)?(\d+)", path.name)) and int(number[1]) > round_
    ]
    final = [path for pattern in AT_END for path in root.glob(pattern) if path.parent not in found]
    return sorted(str(path.relative_to(root)) for path in (*found, *final))


def _set_aside(store: Store, kept: Sequence[Record], later: Sequence[str]) -> Path:
    """The steps of the module's head."""
    root = store.root
    if not (root / REWINDING / JOURNAL).exists():
        store.write(f"{REWINDING}/{JOURNAL}", (root / JOURNAL).read_bytes())
    store.replace(kept)
    for name in later:
        # A task of a round that is kept: its place must stay free for the round itself.
        to = re.sub(r"^(rounds/\d+)/", r"\1-", name)
        store.move(name, f"{REWINDING}/{to}")
    number = 1
    while (root / f"rewound-{number}").exists():
        number += 1
    store.move(REWINDING, f"rewound-{number}")
    return root / f"rewound-{number}"


def _listing(place: Path) -> list[str]:
    """What was set aside: the journal, rounds, tables of hills, generations."""
    patterns = (JOURNAL, "rounds/*", "bias/*/*", "models/*", "fes/*")
    found = [path for pattern in patterns for path in place.glob(pattern)]
    return sorted(str(path.relative_to(place)) for path in found)
