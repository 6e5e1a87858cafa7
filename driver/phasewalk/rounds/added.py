"""Labels of a free energy or a production run that are added to the campaign for its trainings.

They are added after a round: the generation of the next round and the final model are trained on
them. The journal has them as imported labels of that round, so a resume, or a rewind to that round,
finds them again.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from ..campaign import Work
from ..errors import ParseError
from ..files import hash_of
from ..labels import Label
from ..store import (
    FREE_ENERGY,
    IMPORT,
    Imported,
    Labelled,
    Record,
    Store,
    added,
    added_task,
    at_end,
    each,
    now,
    reopen_campaign,
)


@dataclass(frozen=True)
class Taken:
    """Number of labels that were added, and the round after which they are used."""

    count: int
    round: int


def take(
    root: Path, found: Sequence[Label], generation: str, *, source: str = FREE_ENERGY
) -> Taken:
    """Add labels to a campaign, except those that it has.

    Args:
        root: the campaign's directory.
        found: labels of its level of theory.
        generation: name of the generation whose walkers the frames are from.
        source: what these walked for: FREE_ENERGY or PRODUCTION of `store`.

    Raises:
        StoreError: a run works in that directory.
    """
    with closing(reopen_campaign(root)) as store:
        records = store.records()
        round_ = max(record.round for record in records if not at_end(record))
        known = _known(records)
        new = [label for label in found if label.key not in known]
        for label in new:
            store.add_label(replace(label, origin=_origin(label, round_, {source: generation})))
        if new:
            keys = [label.key for label in new]
            name = added_task(generation, 1 + len(added(records)), source)
            outputs = {"labels": keys, "generation": generation}
            store.append(Record(name, IMPORT, round_, hash_of(keys), outputs, 0.0, round(now(), 3)))
        return Taken(len(new), round_)


def after(work: Work, round_: int, known: Sequence[Label]) -> list[Label]:
    """Labels added after a round, except known ones."""
    have = {label.key for label in known}
    keys = [
        key
        for record in added(work.store.records())
        if record.round == round_
        for key in record.of(Imported).labels
    ]
    return [_label(work.store, key) for key in dict.fromkeys(keys) if key not in have]


def _known(records: Sequence[Record]) -> set[str]:
    """Keys of all labels of the campaign."""
    found = {made.key for _, made in each(records, Labelled)}
    for record in records:
        if isinstance(record.made, Imported):
            found |= set(record.made.labels)
    return found


def _origin(label: Label, round_: int, source: Mapping[str, str]) -> dict[str, object]:
    """Origin of the frame; its segment is one of its own run, not of the campaign."""
    return {**label.origin, "segment": label.origin["round"], **source, "round": round_}


def _label(store: Store, key: str) -> Label:
    label = store.label(key)
    if label is None:
        path = store.root / "labels" / f"{key}.json"
        raise ParseError(path, "is missing, but the journal holds it; restore it from a backup")
    return label
