"""LAMMPS data files whose types name their elements."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

from ..errors import InputError, ParseError

STYLES = ("atomic", "charge", "full", "molecular", "bond", "angle")
HEADER_LINES = 60
"""The number of atoms and the box must be in these first lines of a data file."""
_ATOMS = re.compile(r"\s*(\d{1,18})\s+atoms\b")
_HYDROGEN = {"D": "H", "T": "H"}
OFF = 0.15
"""Maximum relative difference between a mass and that of the element in its comment."""
HEAVIEST_HYDROGEN = 4.5
"""Maximum mass of hydrogen, amu: includes deuterium, tritium and repartitioned masses."""
_WHAT_TO_WRITE = "write the element after each mass, as in: 1 22.98977  # Na"


def is_data_file(path: Path) -> bool:
    """Whether a file is a LAMMPS data file, by its first lines: it may have any name."""
    with path.open("rb") as file:
        head = [file.readline(1000).decode(errors="replace") for _ in range(HEADER_LINES)]
    atoms = any(_ATOMS.match(line) for line in head[1:])
    return atoms and any(re.search(r"\bxlo\s+xhi\b|\bavec\b", line) for line in head[1:])


def read(path: Path) -> Atoms:
    """The atoms of a LAMMPS data file in which the element of each type is given.

    It is given by a comment after each mass or by Atom Type Labels. Charges are initial charges.

    Raises:
        InputError: elements, columns or units are ambiguous.
    """
    from ase.io.lammpsdata import read_lammps_data

    lines = path.read_bytes().decode(errors="replace").splitlines()
    stated = re.search(r"\bunits\s*=?\s*(\w+)", lines[0]) if lines else None
    if stated and stated[1] not in ("metal", "real"):
        raise InputError(f"it is in LAMMPS units {stated[1]}; write it in metal or real units (Å)")
    announced = next((int(m[1]) for m in map(_ATOMS.match, lines[1:]) if m), 0)
    if announced > len(lines):
        raise InputError(
            f"its header has {announced} atoms, but the file has only {len(lines)} lines; it is "
            "incomplete, or the header is wrong"
        )
    elements, masses = _types(path, lines)
    atoms: Atoms = read_lammps_data(
        path,
        Z_of_type={kind: atomic_numbers[name] for kind, name in elements.items()},
        atom_style=_style(lines),
        units="metal",
    )
    if masses:
        atoms.set_masses([masses[int(kind)] for kind in atoms.arrays["type"]])
    return atoms


def _style(lines: Sequence[str]) -> str:
    """The atom style in the comment after Atoms, which defines the columns."""
    for line in lines:
        found = re.match(r"\s*Atoms\b\s*(?:#\s*(\S+))?", line)
        if found and found[1] in STYLES:
            return found[1]
        if found:
            raise InputError(
                f"its section Atoms has no atom style ({', '.join(STYLES)}); add it as a comment: "
                "Atoms # atomic"
            )
    raise InputError("it has no section Atoms; write the file with LAMMPS's command write_data")


def _types(path: Path, lines: Sequence[str]) -> tuple[dict[int, str], dict[int, float]]:
    """Element and mass (amu) of each type."""
    rows = _section(path, lines, "Masses")
    labels = {int(row[0]): row[1] for row, _ in _section(path, lines, "Atom Type Labels")}
    by_label = {label: kind for kind, label in labels.items()}
    masses: dict[int, float] = {}
    names: dict[int, str] = dict(labels)
    for row, comment in rows:
        kind = by_label.get(row[0]) or int(row[0])
        masses[kind] = float(row[1])
        if comment:
            names[kind] = comment
    wanted = range(1, _count(lines) + 1)
    for kind in wanted:
        written = names.get(kind, "")
        found = _HYDROGEN.get(written, written)
        if atomic_numbers.get(found, 0) < 1:
            shown = f" (found {written!r})" if written else ""
            raise InputError(
                f"the element of type {kind} of the LAMMPS data file is not given{shown}; "
                f"{_WHAT_TO_WRITE}"
            )
        _check_mass(kind, found, masses)
        names[kind] = found
    return {kind: names[kind] for kind in wanted}, masses


def _check_mass(kind: int, element: str, masses: Mapping[int, float]) -> None:
    usual = float(atomic_masses[atomic_numbers[element]])
    given = masses.get(kind, usual)
    high = HEAVIEST_HYDROGEN if element == "H" else usual * (1.0 + OFF)
    if not usual * (1.0 - OFF) <= given <= high:
        raise InputError(
            f"its type {kind} is {element} with a mass of {given:g} amu, but the mass of {element} "
            f"is {usual:g}; correct the element or the mass"
        )


def _count(lines: Sequence[str]) -> int:
    found = (re.match(r"\s*(\d{1,6})\s+atom\s+types\b", line) for line in lines[:HEADER_LINES])
    return next((int(match[1]) for match in found if match), 0)


def _section(path: Path, lines: Sequence[str], name: str) -> list[tuple[list[str], str]]:
    """The words of each line of a section, and the first word of its comment."""
    rows: list[tuple[list[str], str]] = []
    inside = False
    for number, line in enumerate(lines, start=1):
        text, _, comment = line.partition("#")
        words = text.split()
        if re.match(r"\s*[A-Z]", text) and not (
            inside and len(words) == 2 and _is_number(words[1])
        ):
            inside = text.strip() == name
        elif inside and words:
            if len(words) < 2:
                raise ParseError(path, f"not a valid line of section {name}: {line!r}", number)
            rows.append((words, next(iter(comment.split()), "")))
    return rows


def _is_number(word: str) -> bool:
    return bool(np.isfinite(float(word))) if re.fullmatch(r"[-+.\deE]+", word) else False
