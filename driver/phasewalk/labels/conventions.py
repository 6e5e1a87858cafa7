"""Sign, unit and order of labels from elsewhere, tried against each other.

Between two frames of the same atoms the energy changes by the work of forces and stress, to third
order of their distance: ΔE = −½(F₁ + F₂)·Δx + ½(V₁σ₁ + V₂σ₂):ε. Over many pairs, how much of
each work stands in ΔE is 1 for ASE's conventions (eV, eV/Å, eV/Å³ and tension positive), and tells
which other ones were used.
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
"""Draws of the bootstrap; a share whose relative error is smaller decides."""
SMALLEST, LARGEST = 0.2, 5.0
"""Shares of frames that are far apart are some way from 1; beyond these it is the convention."""
CLEARLY_BETTER = 0.5
"""Of the squared errors in ΔE, what is left in Voigt's other order where that is the right one."""
OTHER_ORDER = (0, 1, 2, 5, 4, 3)
MAX_STRESS_GPA = 100.0
HARTREE_PER_BOHR = 51.4221
STRESSES = {
    -1.0: "the opposite sign: the stress counts as pressures do, positive when compressed",
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
    """How much of a work stands in the energies, and its standard error."""

    value: float
    error: float

    @property
    def decides(self) -> bool:
        """Whether it is more than chance."""
        return self.error < DECIDED * abs(self.value)

    def __str__(self) -> str:
        return f"{self.value:.2g} ± {self.error:.1g}"


def check(labels: Sequence[Label], where: str) -> str:
    """What was found of the labels' conventions.

    Raises:
        InputError: energies, forces and stress contradict each other, or a stress cannot be one.
    """
    stresses = np.array([label.stress for label in labels])
    largest = float(np.median(np.abs(stresses).max(axis=1))) * GPA_PER_EV_PER_A3
    if largest > MAX_STRESS_GPA:
        raise InputError(
            f"{where}: the stress of a usual frame reaches {largest:.3g} GPa if it is in eV/Å³ "
            f"(limit {MAX_STRESS_GPA:g} GPa): convert it (1 eV/Å³ is {GPA_PER_EV_PER_A3:.1f} GPa)"
        )
    pairs = _pairs(labels)
    if len(pairs) < MIN_PAIRS:
        return "too few frames are near each other to check the signs of forces and stress"
    force, stress = _shares(np.array(pairs))
    turned = _pairs([replace(label, stress=label.stress[list(OTHER_ORDER)]) for label in labels])
    better = _left(turned) < CLEARLY_BETTER * _left(pairs)
    if better and _shares(np.array(turned))[1].decides:
        raise InputError(
            f"{where}: energies and stress fit each other only where the stress is taken as xx yy "
            "zz xy xz yz; ASE's order is xx yy zz yz xz xy: convert it"
        )
    count = round(float(np.median([len(label.atoms) for label in labels])))
    per_atom = {1 / count: f"energies per atom: multiply them by {count}"} if count > 1 else {}
    for name, share, known in (("forces", force, FORCES), ("stress", stress, STRESSES)):
        _refuse(where, name, share, {**known, **per_atom})
    told = [
        f"{name} in ASE's sign and unit (their work is {share} of the energy's change)"
        for name, share in (("forces", force), ("stress", stress))
        if share.decides
    ]
    silent = [n for n, s in (("forces", force), ("stress", stress)) if not s.decides]
    if silent:
        told.append(f"the sign of {' and '.join(silent)} cannot be told from these frames")
    return "; ".join(told)


def _refuse(where: str, name: str, share: _Share, known: dict[float, str]) -> None:
    """Raise InputError where a share is clearly another than 1."""
    if not share.decides or SMALLEST < share.value < LARGEST:
        return
    close = {f: abs(np.log(share.value / f)) for f in known if share.value / f > 0}
    best = min(close, key=lambda factor: close[factor])
    likely = f"; it looks like {known[best]}" if close[best] < np.log(LARGEST) else ""
    raise InputError(
        f"{where}: energies and {name} contradict each other: the work of the {name} is {share} of "
        f"the energy's change, and must be 1 in ASE's conventions (eV, eV/Å, eV/Å³ with tension "
        f"positive, Voigt xx yy zz yz xz xy){likely}; convert them"
    )


def _pairs(labels: Sequence[Label]) -> list[tuple[int, int, float, float, float]]:
    """Of the nearest pairs: their frames, ΔE, the work of forces and of stress, all in eV."""
    chosen = labels[:: max(1, len(labels) // MAX_FRAMES)]
    found = []
    for (i, one), (j, other) in combinations(enumerate(chosen), 2):
        done = work(one, other)
        if done is not None:
            found.append((i, j, other.energy - one.energy, *done))
    found.sort(key=lambda pair: abs(pair[3]) + abs(pair[4]))
    return found[:MAX_PAIRS]


def work(one: Label, other: Label) -> tuple[float, float] | None:
    """Work (eV) of forces and of stress from one frame to another; None where they are too far."""
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
    """Shares of both works in ΔE, by least squares; errors by drawing frames again and again."""
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
    """(2,) shares; near pairs count more, since their error is of third order."""
    works = pairs[:, 3:]
    distance = np.abs(works).sum(axis=1) + 1e-9
    root = np.sqrt(weights) / (distance + np.median(distance))
    solved: Array = np.linalg.lstsq(works * root[:, None], pairs[:, 2] * root, rcond=1e-10)[0]
    return solved
