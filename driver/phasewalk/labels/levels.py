"""Levels of theory, which must be the same for all labels of a model."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import brief
from ..files import typed

NO_LEVEL = "not a level of theory"
MAX_SHOWN = 6
"""Maximum number of differences in a message."""


@dataclass(frozen=True)
class Level:
    """A level of theory.

    Attributes:
        program: program or method ("GFN1-xTB", "CP2K").
        version: of the program ("tblite 0.8.0"); empty if not yet known.
        settings: all settings that change the results, by flat names
            ("FORCE_EVAL/DFT/MGRID/CUTOFF"), without coordinates.
        files: name → SHA-256 of the data files it reads: basis sets, potentials.
        cell_multiple: number of primitive cells in the simulated cell. With the Γ point or a fixed
            mesh it determines the Brillouin-zone sampling: MIL-53(Al) as 38 and as 76 atoms differs
            by 1.0 GPa in GFN1-xTB.
    """

    program: str
    version: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    cell_multiple: int = 1

    @property
    def method(self) -> str:
        """Fingerprint of all but the cell multiple; the same for all labels of one model."""
        text = json.dumps(
            [self.program, self.version, dict(self.settings), dict(self.files)], sort_keys=True
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def key(self) -> str:
        """Fingerprint of the method, with the cell multiple."""
        return f"{self.method}-x{self.cell_multiple}"

    def at(self, cell_multiple: int) -> "Level":
        """The same method for a number of primitive cells."""
        return replace(self, cell_multiple=cell_multiple)

    def as_dict(self) -> dict[str, Any]:
        """The method for JSON, in flat names."""
        return {
            "program": self.program,
            "version": self.version,
            "settings": dict(self.settings),
            "files": dict(self.files),
        }

    @property
    def title(self) -> str:
        """The program with its version, for messages."""
        return f"{self.program} ({self.version})" if self.version else self.program

    def __str__(self) -> str:
        return f"{self.title}, {self.cell_multiple} primitive cell(s), {self.key}"


def method_of(key: str) -> str:
    """The method's fingerprint in the key of a level."""
    return key.rpartition("-x")[0]


def from_dict(data: Any) -> Level:
    """The reverse of `Level.as_dict`; InputError if it is not a level."""
    return typed(data, Level, unlike=NO_LEVEL)


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The differences of two nested mappings, as `name: this | that`, joined by `; `."""
    ours, theirs = _flat(one), _flat(other)
    names = [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]
    lines = [f"{name}: {_shown(ours, name)} | {_shown(theirs, name)}" for name in names[:MAX_SHOWN]]
    more = [f"and {len(names) - MAX_SHOWN} more"] if len(names) > MAX_SHOWN else []
    return "; ".join([*lines, *more])


def _shown(values: Mapping[str, Any], name: str) -> str:
    if name not in values:
        return "(absent)"
    value = values[name]
    if name.startswith("files/"):
        return f"sha256 {str(value)[:12]}…"
    return brief(value if isinstance(value, str) else json.dumps(value))


def _flat(data: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            found |= _flat(value, f"{name}/")
        else:
            found[name] = value
    return {name.removeprefix("settings/"): value for name, value in found.items()}
