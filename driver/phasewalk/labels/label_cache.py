"""Labels shared between campaigns: the user's cache, with one folder per method.

CACHE/labels/<method>/level.json      the level of theory
CACHE/labels/<method>/<key>.json      a label, in the format of a campaign
CACHE/labels/<method>/atoms/O.json    energy of an isolated atom
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files
from ..errors import InputError, ParseError, StoreError
from ..files import write_file
from . import label as labels
from . import levels
from .label import Label
from .levels import Level

LEVEL = "level.json"


def _folder(cache: Path, method: str) -> Path:
    return cache / "labels" / method


def find(cache: Path, at: Level, key: str) -> Label | None:
    """The cached label with this content address; None if there is none or its file is damaged."""
    path = _folder(cache, at.method) / f"{key}.json"
    with contextlib.suppress(InputError, OSError):
        label = read(path)
        return label if label.key == key and label.level == at.key else None
    return None


def read(path: Path) -> Label:
    """The label in a file of the cache.

    Raises:
        ParseError: it cannot be read, or does not match its file name.
    """
    label = labels.from_json(files.read_text(path), path)
    if label.key != path.stem or labels.content_key(label.atoms, label.level) != label.key:
        raise ParseError(path, "contains another frame than its name says; damaged or renamed")
    if levels.method_of(label.level) != path.parent.name:
        raise ParseError(path, f"is of another level of theory ({label.level})")
    return label


def keep(cache: Path, at: Level, label: Label) -> None:
    """Store a label for other campaigns; does nothing if the cache cannot be written."""
    path = _folder(cache, at.method) / f"{label.key}.json"
    with contextlib.suppress(StoreError, OSError):
        _keep_level(cache, at)
        if not path.exists():
            write_file(path, labels.to_json(label).encode())


def _keep_level(cache: Path, at: Level) -> None:
    path = _folder(cache, at.method) / LEVEL
    if not path.exists():
        write_file(path, (json.dumps(at.as_dict(), indent=1) + "\n").encode())


def methods(cache: Path) -> Iterator[tuple[Level, list[Path]]]:
    """Each level of theory in the cache, and the files of its labels.

    Raises:
        ParseError: a level cannot be read, or does not match its folder's name.
    """
    for folder in sorted((cache / "labels").glob("*/")):
        path = folder / LEVEL
        level = files.read(path, Level, unlike=levels.NO_LEVEL)
        if level.method != folder.name:
            raise ParseError(path, "is another level of theory than its folder's name")
        yield level, sorted(file for file in folder.glob("*.json") if file.name != LEVEL)


@dataclass(frozen=True)
class _Atom:
    """The energy of an isolated atom as its file has it; see `keep_atom`."""

    energy_eV: float
    how: Mapping[str, Any]
    campaign: str = ""


def atom_energy(cache: Path, at: Level, symbol: str, how: Mapping[str, Any]) -> float | None:
    """Energy (eV) of the isolated atom, or None if it was not computed in this way (box …)."""
    found = atom(cache, at, symbol, how)
    return None if found is None else found[0]


def atom(cache: Path, at: Level, symbol: str, how: Mapping[str, Any]) -> tuple[float, str] | None:
    """Energy (eV) of the isolated atom and the campaign that computed it in this way, or None."""
    path = _folder(cache, at.method) / "atoms" / f"{symbol}.json"
    with contextlib.suppress(ParseError):
        found = files.read(path, _Atom)
        if found.how == how:
            return found.energy_eV, found.campaign
    return None


def keep_atom(
    cache: Path,
    at: Level,
    symbol: str,
    *,
    energy_eV: float,
    how: Mapping[str, Any],
    campaign: str = "",
) -> None:
    """Store the energy of an isolated atom that a campaign has computed in this way."""
    data = {"element": symbol, "energy_eV": energy_eV, "how": dict(how), "campaign": campaign}
    path = _folder(cache, at.method) / "atoms" / f"{symbol}.json"
    with contextlib.suppress(StoreError, OSError):
        _keep_level(cache, at)
        write_file(path, json.dumps(data).encode())
