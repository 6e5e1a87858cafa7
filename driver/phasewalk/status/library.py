"""List, export, import and verify the labels of a campaign or of the cache."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import labels
from ..errors import UNREADABLE, InputError, ParseError
from ..labels import Label, Level, conventions, label_cache, levels
from ..store import (
    HeldOut,
    Imported,
    Labelled,
    Late,
    Record,
    Store,
    each,
    read_campaign,
    read_identity,
)
from ..structures import cell_multiple
from ..validation import read_labelled


def campaign_labels(
    root: Path, store: Store | None = None, *, every: int = 1
) -> tuple[list[Label], Level]:
    """The labels of a campaign in the order of the journal, and their level of theory.

    Args:
        root: campaign directory.
        store: the directory, if it is already open.
        every: return every n-th label, starting with the first.

    Raises:
        StoreError: not a campaign directory.
        ParseError: a label of the journal is missing or damaged.
    """
    store = store or read_campaign(root)
    level = levels.from_dict(read_identity(root).get("level of theory"))
    found = []
    for key in label_keys(store.records())[::every]:
        label = store.label(key)
        if label is None:
            raise ParseError(
                root / "labels" / f"{key}.json",
                "is missing, but the journal holds it; restore it from a backup",
            )
        found.append(label)
    return found, level


def label_keys(records: Iterable[Record]) -> list[str]:
    """Keys of the labels in journal records, in their order."""
    keys: dict[str, None] = {}
    for record in records:
        made = record.made
        if isinstance(made, Imported):
            keys |= dict.fromkeys(made.labels)
        elif isinstance(made, Labelled):
            keys[made.key] = None
    return list(keys)


def learned_in(records: Sequence[Record]) -> dict[str, int]:
    """Key of a label → the round whose generation learned it first: of a late one, the next.

    Labels that are held out are not learned.
    """
    late = {
        (record.round, one.walker or one.key)
        for record, found in each(records, Late)
        for one in found.labels
    }
    held = {one.key for _, found in each(records, HeldOut) for one in found.labels}
    return {
        one.key: record.round + ((record.round, one.origin.get("walker", one.key)) in late)
        for record, one in each(reversed(records), Labelled)
        if one.key not in held
    }


def cached_labels(cache: Path, method: str) -> tuple[list[Label], Level]:
    """The labels of one level of theory in the cache.

    Raises:
        InputError: there are no labels with this fingerprint, or a label is damaged.
    """
    for level, files in label_cache.methods(cache):
        if level.method == method:
            return [label_cache.read(path) for path in files], level
    raise InputError(
        f"no labels of the level of theory {method} in {cache}; phasewalk labels list shows those "
        "that exist"
    )


def row(label: Label) -> dict[str, Any]:
    """A label as a row of a table."""
    count = len(label.atoms)
    return {
        "key": label.key,
        "system": label.origin.get("system", ""),
        "round": label.origin.get("round"),
        "walker": label.origin.get("walker", ""),
        "formula": label.atoms.get_chemical_formula(),
        "volume_A3": float(label.atoms.get_volume()),
        "energy_eV_per_atom": label.energy / count,
        "max_force_eV_per_A": float(np.abs(label.forces).max()),
        "seconds": label.seconds,
        "try": label.made.get("try"),
        "level": label.level,
    }


def verify_campaign(root: Path) -> Iterator[str]:
    """Check the labels of a campaign; yields one line per error."""
    store = read_campaign(root)
    try:
        level = levels.from_dict(read_identity(root).get("level of theory"))
        keys = label_keys(store.records())
    except (*UNREADABLE, InputError) as error:
        yield f"{root}: the journal or its level of theory cannot be read ({error})"
        return
    files = {path.stem: path for path in sorted((root / "labels").glob("*.json"))}
    for key in keys:
        if key not in files:
            yield f"{root / 'labels' / key}.json: is missing, but the journal holds it"
    good = []
    for key in files:
        try:
            label = store.label(key)
        except InputError as error:
            yield str(error)
            continue
        if label is not None and levels.method_of(label.level) != level.method:
            yield f"{files[key]}: has another level of theory ({label.level})"
        elif label is not None:
            good.append(label)
    yield from _contradictions(good, str(root))


def verify_cache(cache: Path) -> Iterator[str]:
    """Check the labels in the cache; yields one line per error."""
    for level, files in label_cache.methods(cache):
        good = []
        for path in files:
            try:
                good.append(label_cache.read(path))
            except InputError as error:
                yield str(error)
        yield from _contradictions(good, level.method)


def _contradictions(found: Sequence[Label], where: str) -> Iterator[str]:
    try:
        if found:
            conventions.check_conventions(found, where)
    except InputError as error:
        yield str(error)


def read_foreign(path: Path, declared: Level | None) -> list[tuple[Label, Level]]:
    """Read labels of a file with their levels of theory: from the file, or else as declared.

    Raises:
        InputError: a frame cannot be read, is implausible, or has no level of theory.
    """
    found = read_labelled(path)
    conventions.check_conventions(found, str(path))
    return [_at_its_level(path, n, label, declared) for n, label in enumerate(found, start=1)]


def _at_its_level(
    path: Path, number: int, label: Label, declared: Level | None
) -> tuple[Label, Level]:
    stated: Mapping[str, Any] | None = label.made.get("level_of_theory")
    where = f"{path}, frame {number}"
    if stated is None and (declared is None or label.level):
        raise InputError(
            f"{where}: no level of theory given; if it is that of a campaign, add --campaign "
            "CAMPAIGN.yaml --same-level"
        )
    level = levels.from_dict(stated) if stated is not None else declared
    if level is None or (label.level and levels.method_of(label.level) != level.method):
        raise InputError(
            f"{where}: the level of theory does not match its fingerprint; export the labels again"
        )
    multiple = label.level.rpartition("-x")[2]
    at = level.at(int(multiple) if multiple.isdigit() else cell_multiple(label.atoms))
    made = {key: value for key, value in label.made.items() if key != "level_of_theory"}
    origin = {**label.origin, "file": path.name, "frame": number}
    kept = replace(
        label, key=labels.label_key(label.atoms, at), level=at.key, origin=origin, made=made
    )
    labels.check(kept, max_force=math.inf)
    return kept, at
