"""Compare one frame with what its model was trained on."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase import Atoms

from .environments import Array, surroundings
from .trained import Trained

MOST_ATOMS = 20
"""Number of atoms that an alarm names, the worst first."""
ENVIRONMENT, CONTACT, VARIABLE, FORCE, LOST = (
    "environment", "contact", "variable", "force", "not finite"
)  # fmt: skip


@dataclass(frozen=True)
class Alarm:
    """One alarm.

    Attributes:
        kind: `environment`, `contact`, `variable`, `force`, or `not finite`.
        what: element, pair of elements, or variable.
        atoms: ids in the dump (from 1) of at most `MOST_ATOMS` atoms, the worst first.
        count: number of atoms.
        value: the worst one: distance of an environment, distance of a contact (Å), variable (in
            its PLUMED unit), force (eV/Å).
        limit: that it is beyond, in the same unit.
        times: how far beyond, 1 at the limit: value / limit; limit / value of a contact; 1 + excess
            / range of a variable.
    """

    kind: str
    what: str
    atoms: tuple[int, ...]
    count: int
    value: float
    limit: float
    times: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity."""
        found = {**asdict(self), "atoms": list(self.atoms)}
        return {
            key: (None if isinstance(value, float) and not np.isfinite(value) else value)
            for key, value in found.items()
        }

    def __str__(self) -> str:
        """One line."""
        atoms = ", ".join(str(atom) for atom in self.atoms[:3])
        more = f" and {self.count - 3} more" if self.count > 3 else ""
        where = f", atom{'s' if self.count > 1 else ''} {atoms}{more}" if self.atoms else ""
        if self.kind == LOST:
            return f"positions that are not finite{where}"
        unit = {CONTACT: " Å", FORCE: " eV/Å"}.get(self.kind, "")
        value = f"{self.value:.4g}{unit} (limit {self.limit:.4g})"
        named = self.what if self.kind == FORCE else f"{self.kind} {self.what}"
        return f"{named.strip() or self.kind}{where}: {value}"


def look(
    atoms: Atoms, trained: Trained, values: Mapping[str, Array] | None = None
) -> tuple[list[Alarm], Array]:
    """The alarms of a frame, and how unlike its atoms are.

    Args:
        atoms: the frame; forces are compared if it has an array `forces` (N, 3), eV/Å.
        trained: what it is compared with.
        values: name of a PLUMED variable → its values since the frame before.

    Returns:
        The alarms, and (N,) distances to the nearest known environments, × 1 / limit.
    """
    broken = ~np.isfinite(atoms.positions).all(axis=1)
    if broken.any() or not np.isfinite(atoms.cell.array).all():
        ids = np.flatnonzero(broken) + 1
        named = tuple(map(int, ids[:MOST_ATOMS]))
        return [Alarm(LOST, "", named, len(ids), np.inf, 0.0, np.inf)], np.full(len(atoms), np.inf)
    found = surroundings(atoms, trained.elements, trained.cutoff_A)
    distances = trained.unlike(found)
    limits = trained.limits[found.kinds]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.nan_to_num(distances / limits, nan=0.0, posinf=np.inf)
    alarms = []
    for kind, element in enumerate(trained.elements):
        mine = np.flatnonzero((found.kinds == kind) & (ratios > 1.0))
        if len(mine):
            worst = mine[np.argsort(-distances[mine], kind="stable")]
            value, limit = float(distances[worst[0]]), float(trained.limits[kind])
            times = float(ratios[worst[0]])
            alarms.append(Alarm(ENVIRONMENT, element, _ids(worst), len(mine), value, limit, times))
    alarms += _contacts(found.closest, found.pairs, trained)
    alarms += _forces(atoms, trained)
    return [*alarms, *_outside(values or {}, trained)], ratios


def _ids(numbers: Any) -> tuple[int, ...]:
    return tuple(int(number) + 1 for number in numbers[:MOST_ATOMS])


def _contacts(closest: Array, pairs: Any, trained: Trained) -> Iterator[Alarm]:
    """Pairs of elements that are closer than in any label."""
    for one, other in np.argwhere(np.triu(closest < trained.closest_A)):
        value, limit = float(closest[one, other]), float(trained.closest_A[one, other])
        what = f"{trained.elements[one]}-{trained.elements[other]}"
        times = limit / value if value > 0.0 else np.inf
        yield Alarm(CONTACT, what, _ids(pairs[one, other]), 2, value, limit, times)


def _forces(atoms: Atoms, trained: Trained) -> Iterator[Alarm]:
    """Forces larger than in any label."""
    if "forces" not in atoms.arrays:
        return
    forces = np.linalg.norm(atoms.arrays["forces"], axis=1)
    beyond = np.flatnonzero(~(forces <= trained.force_eV_per_A))
    if len(beyond):
        worst = beyond[np.argsort(-forces[beyond], kind="stable")]
        value, limit = float(forces[worst[0]]), trained.force_eV_per_A
        yield Alarm(FORCE, "force", _ids(worst), len(beyond), value, limit, value / limit)


def _outside(values: Mapping[str, Array], trained: Trained) -> Iterator[Alarm]:
    """Variables outside of their ranges in the campaign."""
    for name, (low, high) in trained.variables.items():
        found = values.get(name, np.zeros(0))
        if not len(found):
            continue
        excess = np.maximum(low - found, found - high)
        worst = int(np.argmax(np.nan_to_num(excess, nan=np.inf)))
        if not excess[worst] <= 0.0:
            value, limit = float(found[worst]), (low if found[worst] < low else high)
            times = 1.0 + float(excess[worst]) / max(high - low, 1e-12)
            yield Alarm(VARIABLE, name, (), 0, value, limit, times)
