"""Frames of walkers for the 3-D viewer: initial ones, after the first and after the last round."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.data import covalent_radii
from ase.data.colors import jmol_colors

from ..errors import PhasewalkError
from ..rounds import State, read_states, states_file
from ..structures import molecules

MOST_ATOMS = 60_000
"""Maximum number of atoms in all frames, about 2 MB of the page."""


def collect(root: Path, rounds: Sequence[int]) -> list[tuple[str, Atoms]]:
    """Title and atoms of the frames: before the first round, after it, after the last one.

    Args:
        root: the campaign directory.
        rounds: finished rounds, in order.
    """
    first, last = [*rounds[:1], 0][0], [*rounds[-1:], 0][0]
    moments = [(f"after round {last}", s, s.frames[:1]) for s in _states(root, last)]
    if first != last:
        moments += [(f"after round {first}", s, s.frames[:1]) for s in _states(root, first)]
    moments += [(f"before round {first}", s, [s.came_from]) for s in _states(root, first)]
    found, left = [], MOST_ATOMS
    for when, state, frames in moments:  # the newest first, so that older ones are omitted
        for _, atoms in frames:
            left -= len(atoms)
            if left >= 0:
                found.append((when, f"{state.walker}, {when}", atoms))
    order = [f"before round {first}", f"after round {first}", f"after round {last}"]
    found.sort(key=lambda one: order.index(one[0]))
    return [(title, atoms) for _, title, atoms in found]


def _states(root: Path, round_: int) -> list[State]:
    try:
        return read_states(root / states_file(round_)) if round_ else []
    except PhasewalkError:
        return []


def to_json(frames: Sequence[tuple[str, Atoms]]) -> str:
    """The frames as JSON for the viewer, with whole molecules; safe inside a `<script>`."""
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
                "positions": molecules.whole(atoms).round(3).tolist(),
            }
            for title, atoms in frames
        ],
    }
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _species(number: int) -> Mapping[str, Any]:
    red, green, blue = (round(255 * float(part)) for part in jmol_colors[number])
    radius = round(float(covalent_radii[number]), 3)
    return {"radius": radius, "colour": f"#{red:02x}{green:02x}{blue:02x}"}
