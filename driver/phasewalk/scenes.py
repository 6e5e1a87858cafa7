"""Frames of walkers to look at: where each began, after its first round, after its last."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.data import covalent_radii
from ase.data.colors import jmol_colors

from .errors import PhasewalkError
from .steering import State, read_states, states_file

MOST_ATOMS = 60_000
"""In all frames together: some 2 MB of a page."""


def collect(root: Path, rounds: Sequence[int]) -> list[tuple[str, Atoms]]:
    """Title and atoms of the frames: before the first round, after it, after the last one.

    Args:
        root: the campaign directory.
        rounds: those that have walked, in their order.
    """
    found: list[tuple[str, Atoms]] = []
    left = MOST_ATOMS
    for number in dict.fromkeys((*rounds[:1], *rounds[-1:])):
        for state in _states(root / states_file(number)):
            new = []
            if number == rounds[0]:
                new.append((f"{state.walker}, before round {number}", state.came_from[1]))
            if state.frames:
                new.append((f"{state.walker}, after round {number}", state.frames[0][1]))
            for title, atoms in new:
                left -= len(atoms)
                if left >= 0:
                    found.append((title, atoms))
    return found


def _states(path: Path) -> list[State]:
    try:
        return read_states(path)
    except PhasewalkError:
        return []


def to_json(frames: Sequence[tuple[str, Atoms]]) -> str:
    """The frames for the page's viewer; safe inside a `<script>`."""
    numbers = sorted({int(z) for _, atoms in frames for z in atoms.numbers})
    species = [_species(z) for z in numbers]
    data = {
        "species": species,
        "frames": [
            {
                "title": title,
                "formula": atoms.get_chemical_formula(),
                "volume": round(float(atoms.get_volume()), 1),
                "cell": atoms.cell.array.round(3).tolist(),
                "kinds": [numbers.index(z) for z in atoms.numbers],
                "positions": atoms.positions.round(3).tolist(),
            }
            for title, atoms in frames
        ],
    }
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _species(number: int) -> Mapping[str, Any]:
    red, green, blue = (round(255 * float(part)) for part in jmol_colors[number])
    radius = round(float(covalent_radii[number]), 3)
    return {"radius": radius, "colour": f"#{red:02x}{green:02x}{blue:02x}"}
