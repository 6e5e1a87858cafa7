"""Labels at hand: those of a campaign or of the cache, listed, exported, imported and verified."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import labels
from ..errors import UNREADABLE, InputError, ParseError
from ..labels import Label, Level, conventions, label_cache, levels
from ..store import Imported, Labelled, Record, Store, read_campaign, read_identity
from ..structures import cell_multiple
from ..validation import read_labelled


def campaign_labels(
    root: Path, store: Store | None = None, *, every: int = 1
) -> tuple[list[Label], Level]:
    """The labels of a campaign in the order in which they were made, and their level.

    Args:
        root: its directory.
        store: that directory, if it was read before.
        every: take only each n-th label, beginning with the first.

    Raises:
        StoreError: it is no campaign.
        ParseError: a label that the journal holds is missing or damaged.
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
    """Keys of the labels that journal records hold, in their order."""
    keys: dict[str, None] = {}
    for record in records:
        made = record.made
        if isinstance(made, Imported):
            keys |= dict.fromkeys(made.labels)
        elif isinstance(made, Labelled):
            keys[made.key] = None
    return list(keys)


def cached_labels(cache: Path, method: str) -> tuple[list[Label], Level]:
    """The labels of one level of theory in the cache.

    Raises:
        InputError: there is none with this fingerprint, or one is damaged.
    """
    for level, files in label_cache.methods(cache):
        if level.method == method:
            return [label_cache.read(path) for path in files], level
    raise InputError(f"no labels of the level {method} in {cache}; see phasewalk labels list")


def row(label: Label) -> dict[str, Any]:
    """What a list says of a label."""
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
    """What is wrong with the labels of a campaign, one line each."""
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
            yield f"{files[key]}: of another level of theory ({label.level})"
        elif label is not None:
            good.append(label)
    yield from _contradictions(good, str(root))


def verify_cache(cache: Path) -> Iterator[str]:
    """What is wrong with the labels in the cache, one line each."""
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
    """Labels of a file with their levels: as it says itself, or as declared where it does not.

    Raises:
        InputError: a frame cannot be read or believed, or does not say its level.
    """
    found = read_labelled(path)
    conventions.check_conventions(found, str(path))
    return [_at_its_level(path, n, label, declared) for n, label in enumerate(found, start=1)]


def _at_its_level(
    path: Path, number: int, label: Label, declared: Level | None
) -> tuple[Label, Level]:
    told: Mapping[str, Any] | None = label.made.get("level_of_theory")
    where = f"{path}, frame {number}"
    if told is None and (declared is None or label.level):
        raise InputError(
            f"{where}: it does not say at which level of theory it was labelled; if that is a "
            "campaign's, say so: --campaign CAMPAIGN.yaml --same-level"
        )
    level = levels.from_dict(told) if told is not None else declared
    if level is None or (label.level and levels.method_of(label.level) != level.method):
        raise InputError(f"{where}: its level of theory is not the one whose fingerprint it has")
    multiple = label.level.rpartition("-x")[2]
    at = level.at(int(multiple) if multiple.isdigit() else cell_multiple(label.atoms))
    made = {key: value for key, value in label.made.items() if key != "level_of_theory"}
    origin = {**label.origin, "file": path.name, "frame": number}
    kept = replace(
        label, key=labels.label_key(label.atoms, at), level=at.key, origin=origin, made=made
    )
    labels.check(kept, max_force=math.inf)
    return kept, at
