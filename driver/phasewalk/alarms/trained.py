"""What the labels of a model cover: environments, contacts, forces, ranges of variables.

The limit of an environment's distance to the nearest known one is from the labels themselves: the
distances of the environments of each label to the nearest ones of the same element in all other
labels, of which a quantile is taken, because one strange label must not hide all that is strange.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ..errors import UNREADABLE, InputError, ParseError
from ..files import write_file
from .environments import Array, Surroundings, Whole, descriptor_size, surroundings

QUANTILE, BEYOND = 0.995, 1.5
"""Limit of an environment's distance: quantile of those between labels, and a factor."""
CLOSER = 0.9
"""Limit of a contact: × the closest one of its elements in the labels."""
FLOOR = 0.3
"""Numbers of a descriptor that hardly differ in the labels count as if their spread were so large,
relative to the root mean square of all spreads: a new value of them is new indeed, but not without
limit."""


@dataclass(frozen=True)
class Trained:
    """What a model was trained on.

    Attributes:
        elements: element symbols.
        cutoff_A: of the model, Å.
        scales: (elements, d) spread of each number of the descriptor.
        known: (n, d) environments in the labels, divided by the spreads.
        kinds: (n,) number of each one's element.
        limits: (elements,) limit of the distance to the nearest known environment; 0 for an element
            without environments.
        closest_A: (elements, elements) limit of contacts, Å.
        force_eV_per_A: largest force on an atom in the labels.
        variables: name of a PLUMED variable → its range in the campaign.
        about: where it is from.
    """

    elements: tuple[str, ...]
    cutoff_A: float
    scales: Array
    known: Array
    kinds: Whole
    limits: Array
    closest_A: Array
    force_eV_per_A: float
    variables: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def _trees(self) -> list[Any]:
        from scipy.spatial import cKDTree

        return [cKDTree(self.known[self.kinds == kind]) for kind in range(len(self.elements))]

    def scaled(self, found: Surroundings) -> Array:
        """(N, d) environments divided by the spreads of their elements."""
        quotient: Array = found.environments / self.scales[found.kinds]
        return quotient

    def unlike(self, found: Surroundings) -> Array:
        """(N,) distances to the nearest known environment of the same element.

        Infinite for an element without any.
        """
        points, distances = self.scaled(found), np.full(len(found.kinds), np.inf)
        for kind, tree in enumerate(self._trees):
            mine = found.kinds == kind
            if tree.n and mine.any():
                distances[mine] = tree.query(points[mine])[0]
        return distances

    def write(self, path: Path) -> None:
        """Write it to a file."""
        more = {one.name: getattr(self, one.name) for one in fields(self)}
        more = {name: value for name, value in more.items() if name not in _ARRAYS}
        stream = io.BytesIO()
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        np.savez_compressed(stream, more=np.array(json.dumps(more)), **arrays)
        write_file(path, stream.getvalue())


_ARRAYS = ("scales", "known", "kinds", "limits", "closest_A")


def read(path: Path) -> Trained:
    """Read what `Trained.write` wrote.

    Raises:
        ParseError: it is damaged.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            more = json.loads(str(stored["more"]))
            arrays = {name: stored[name] for name in _ARRAYS}
        more["elements"] = tuple(more["elements"])
        more["variables"] = {name: (low, high) for name, (low, high) in more["variables"].items()}
        found = Trained(**arrays, **more)
        if found.known.shape[1] != descriptor_size(found.elements):
            raise ValueError("of another version of phasewalk")
        return found
    except (*UNREADABLE, zipfile.BadZipFile) as error:
        raise ParseError(path, f"cannot be read ({error}); remove it") from error


def learn(
    frames: Sequence[Atoms],
    forces: Sequence[Array],
    elements: Sequence[str],
    cutoff_A: float,
    *,
    variables: Mapping[str, tuple[float, float]] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Trained:
    """What labels cover.

    Args:
        frames: of the labels, at least two.
        forces: (N, 3) of each, eV/Å.
        elements: symbols of all elements of the model.
        cutoff_A: of the model, Å.
        variables: ranges of PLUMED variables.
        about: where the labels are from.

    Raises:
        InputError: there are fewer than two labels.
    """
    if len(frames) < 2:
        raise InputError(f"alarms need two labels or more, not {len(frames)}")
    found = [surroundings(atoms, elements, cutoff_A) for atoms in frames]
    kinds = np.concatenate([one.kinds for one in found])
    every = np.concatenate([one.environments for one in found])
    owners = np.repeat(np.arange(len(found)), [len(one.kinds) for one in found])
    scales = np.ones((len(elements), every.shape[1]))
    limits = np.zeros(len(elements))
    for kind in np.unique(kinds):
        mine = kinds == kind
        scales[kind] = _spreads(every[mine])
        gaps = _gaps(every[mine] / scales[kind], owners[mine])
        limits[kind] = BEYOND * float(np.quantile(gaps, QUANTILE))
    closest = np.min([one.closest for one in found], axis=0)
    return Trained(
        elements=tuple(elements),
        cutoff_A=cutoff_A,
        scales=scales,
        known=every / scales[kinds],
        kinds=kinds,
        limits=limits,
        closest_A=CLOSER * np.minimum(closest, cutoff_A),
        force_eV_per_A=float(max(np.linalg.norm(one, axis=1).max() for one in forces)),
        variables=variables or {},
        about=about or {},
    )


def _spreads(points: Array) -> Array:
    """(d,) standard deviations, with a floor."""
    squares = points.var(axis=0)
    floor = FLOOR**2 * squares.mean()
    spreads: Array = np.sqrt(squares + floor)
    return spreads if floor > 0.0 else np.ones_like(spreads)


def _gaps(points: Array, owners: NDArray[np.int64]) -> Array:
    """(n,) distance of each point to the nearest one of another owner; 0 with one owner."""
    from scipy.spatial import cKDTree

    gaps = np.zeros(len(points))
    for owner in np.unique(owners):
        mine = owners == owner
        if not mine.all():
            gaps[mine] = cKDTree(points[~mine]).query(points[mine])[0]
    return gaps
