"""Consistency check of sign, unit and component order of imported labels.

The energy difference of two frames of the same atoms is the work of forces and stress, up to third
order in their distance: ΔE = −½(F₁ + F₂)·Δx + ½(V₁σ₁ + V₂σ₂):ε. The coefficients of both works
in ΔE are fitted to many pairs. They are 1 for ASE's conventions (eV, eV/Å, eV/Å³, tension
positive); other values identify other conventions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..units import GPA_PER_EV_PER_A3
from .label import Label

Array = NDArray[np.float64]

MAX_PAIRS, MAX_FRAMES, MIN_PAIRS = 400, 60, 6
MAX_ROTATION, MAX_STRAIN, MAX_MOVE_A = 0.05, 0.15, 0.6
SAMPLES, DECIDED = 200, 0.2
"""Number of bootstrap samples; largest relative error of a significant coefficient."""
SMALLEST, LARGEST = 0.2, 5.0
"""Limits of a coefficient (far frames change it, too); outside, the convention differs."""
CLEARLY_BETTER = 0.5
"""Ratio of squared errors in ΔE below which the other Voigt order is taken to be the right one."""
OTHER_ORDER = (0, 1, 2, 5, 4, 3)
MAX_STRESS_GPA = 100.0
HARTREE_PER_BOHR = 51.4221
STRESSES = {
    -1.0: "the opposite sign: positive under compression, like a pressure",
    1 / GPA_PER_EV_PER_A3: "GPa",
    -1 / GPA_PER_EV_PER_A3: "GPa with the opposite sign",
    0.1 / GPA_PER_EV_PER_A3: "kbar",
    -0.1 / GPA_PER_EV_PER_A3: "kbar with the opposite sign (VASP)",
}
FORCES = {
    -1.0: "the opposite sign: gradients instead of forces",
    HARTREE_PER_BOHR: "hartree/bohr",
    -HARTREE_PER_BOHR: "hartree/bohr with the opposite sign",
}


@dataclass(frozen=True)
class _Share:
    """Coefficient of a work in the energy differences, and its standard error."""

    value: float
    error: float

    @property
    def significant(self) -> bool:
        """Whether the relative error is small enough."""
        return self.error < DECIDED * abs(self.value)

    def __str__(self) -> str:
        return f"{self.value:.2g} ± {self.error:.1g}"


def check_conventions(labels: Sequence[Label], where: str) -> str:
    """Describe the conventions of the labels.

    Raises:
        InputError: energies, forces and stress are inconsistent, or the stress is too large.
    """
    stresses = np.array([label.stress for label in labels])
    largest = float(np.median(np.abs(stresses).max(axis=1))) * GPA_PER_EV_PER_A3
    if largest > MAX_STRESS_GPA:
        raise InputError(
            f"{where}: the median of the frames' largest stress component is {largest:.3g} GPa if "
            f"the unit is eV/Å³ (limit {MAX_STRESS_GPA:g} GPa); convert it to eV/Å³ "
            f"(1 eV/Å³ is {GPA_PER_EV_PER_A3:.1f} GPa)"
        )
    pairs = _pairs(labels)
    if len(pairs) < MIN_PAIRS:
        return "too few similar frames to check the signs of forces and stress"
    force, stress = _shares(np.array(pairs))
    turned = _pairs([replace(label, stress=label.stress[list(OTHER_ORDER)]) for label in labels])
    better = _left(turned) < CLEARLY_BETTER * _left(pairs)
    if better and _shares(np.array(turned))[1].significant:
        raise InputError(
            f"{where}: energies and stress agree only if the order of the stress is xx yy zz xy xz "
            "yz; ASE's order is xx yy zz yz xz xy; convert it"
        )
    count = round(float(np.median([len(label.atoms) for label in labels])))
    per_atom = {1 / count: f"energies per atom: multiply them by {count}"} if count > 1 else {}
    for name, share, known in (("forces", force, FORCES), ("stress", stress, STRESSES)):
        _refuse(where, name, share, {**known, **per_atom})
    found = [
        f"{name} in ASE's sign and unit (work / energy difference: {share})"
        for name, share in (("forces", force), ("stress", stress))
        if share.significant
    ]
    unknown = [n for n, s in (("forces", force), ("stress", stress)) if not s.significant]
    if unknown:
        found.append(f"the sign of {' and '.join(unknown)} cannot be determined from these frames")
    return "; ".join(found)


def _refuse(where: str, name: str, share: _Share, known: dict[float, str]) -> None:
    """Raise InputError if a coefficient clearly differs from 1."""
    if not share.significant or SMALLEST < share.value < LARGEST:
        return
    close = {f: abs(np.log(share.value / f)) for f in known if share.value / f > 0}
    best = min(close, key=lambda factor: close[factor])
    likely = f"; it looks like {known[best]}" if close[best] < np.log(LARGEST) else ""
    raise InputError(
        f"{where}: energies and {name} are inconsistent: the work of the {name} divided by the "
        f"energy difference is {share}, expected 1 in ASE's conventions (eV, eV/Å, eV/Å³ with "
        f"tension positive, Voigt xx yy zz yz xz xy){likely}; convert them"
    )


def _pairs(labels: Sequence[Label]) -> list[tuple[int, int, float, float, float]]:
    """For the nearest pairs: the two frames, ΔE, work of the forces, work of the stress, eV."""
    chosen = labels[:: max(1, len(labels) // MAX_FRAMES)]
    found = []
    for (i, one), (j, other) in combinations(enumerate(chosen), 2):
        done = work(one, other)
        if done is not None:
            found.append((i, j, other.energy - one.energy, *done))
    found.sort(key=lambda pair: abs(pair[3]) + abs(pair[4]))
    return found[:MAX_PAIRS]


def work(one: Label, other: Label) -> tuple[float, float] | None:
    """Work (eV) of forces and of stress from one frame to another; None if they are too far."""
    if one.atoms.numbers.tolist() != other.atoms.numbers.tolist():
        return None
    cells = one.atoms.cell.array, other.atoms.cell.array
    deformation = np.linalg.solve(cells[0], cells[1]) - np.eye(3)
    strain = (deformation + deformation.T) / 2
    if np.abs(deformation - strain).max() > MAX_ROTATION or np.abs(strain).max() > MAX_STRAIN:
        return None
    steps = np.linalg.solve(cells[1].T, other.atoms.positions.T).T
    steps -= np.linalg.solve(cells[0].T, one.atoms.positions.T).T
    steps -= np.round(steps)
    moves = steps @ (cells[0] + cells[1]) / 2
    if np.abs(moves - moves.mean(axis=0)).max() > MAX_MOVE_A:
        return None
    force = -float(((one.forces + other.forces) * moves).sum()) / 2
    stress = one.atoms.get_volume() * one.stress + other.atoms.get_volume() * other.stress
    voigt = strain[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] * [1, 1, 1, 2, 2, 2]
    return force, float((stress * voigt).sum()) / 2


def _shares(pairs: Array) -> tuple[_Share, _Share]:
    """Least-squares coefficients of both works in ΔE, with bootstrap errors."""
    best = _fit(pairs, np.ones(len(pairs)))
    frames = pairs[:, :2].astype(int)
    count = int(frames.max()) + 1
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(SAMPLES):
        weights = np.bincount(rng.integers(0, count, count), minlength=count)
        drawn.append(_fit(pairs, weights[frames[:, 0]] * weights[frames[:, 1]]))
    errors = np.std(drawn, axis=0)
    force, stress = (_Share(float(v), float(e)) for v, e in zip(best, errors, strict=True))
    return force, stress


def _left(pairs: Sequence[tuple[int, int, float, float, float]]) -> float:
    """Mean squared error of ΔE, relative to the works, after the best fit."""
    values = np.array(pairs)
    shares = _fit(values, np.ones(len(values)))
    distance = np.abs(values[:, 3:]).sum(axis=1) + 1e-9
    wrong = (values[:, 2] - values[:, 3:] @ shares) / (distance + np.median(distance))
    return float(np.mean(wrong**2))


def _fit(pairs: Array, weights: Array) -> Array:
    """(2,) coefficients; near pairs have larger weights, since their error is of third order."""
    works = pairs[:, 3:]
    distance = np.abs(works).sum(axis=1) + 1e-9
    root = np.sqrt(weights) / (distance + np.median(distance))
    solved: Array = np.linalg.lstsq(works * root[:, None], pairs[:, 2] * root, rcond=1e-10)[0]
    return solved
