"""Energies of labelled frames beside each other: one that cannot be, and what is worth a look.

Energies per atom differ by what the elements contribute, which is fitted (least absolute values, so
that a few wrong frames do not bend the fit), and by structure: phases of one composition lie within
a few eV per atom of each other, whatever they are.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..structures import reduced_formula
from .conventions import work
from .label import Label
from .label_values import ALSO

Array = NDArray[np.float64]

MAX_GAP_EV_PER_ATOM = 20.0
"""Between frames and all others no structure makes such a difference, unless it is pressed."""
FORCE_FACTOR = 2.0
"""A frame that is pressed together lies high, and its forces and stress are large."""
NOTED_GAP_EV_PER_ATOM, SUSPECT_GAP_EV_PER_ATOM = 2.0, 0.3
"""Above the first it is said; above the second a frame is compared with a near one, by the work."""
WORK_FACTOR = 3.0
"""How much of the work between near frames may be missing in their energies (it is of third order
of their distance)."""
MAX_NEAR, FIT_STEPS = 60, 60
INTENSIVE = 0.2
"""Of the growth with the size of the cell, what is left where energies are per atom."""


def check(labels: Sequence[Label], path: object) -> None:
    """Raise InputError where a frame's energy cannot be beside the others'."""
    left = residuals(labels)
    far, gap = _apart(left)
    if not len(far) or gap <= SUSPECT_GAP_EV_PER_ATOM:
        return
    worst = int(far[np.abs(left[far] - np.median(left)).argmax()])
    one = labels[worst]
    where = (
        f"{path}, frame {worst + 1}: its energy ({one.energy:.6g} eV, {len(one.atoms)} atoms) is "
        f"{left[worst] - np.median(np.delete(left, worst)):+.3g} eV/atom from "
        f"{'the other frame' if len(labels) == 2 else 'the others'} of these elements"
    )
    limit = MAX_GAP_EV_PER_ATOM + FORCE_FACTOR * _strained(one)
    if gap > limit:
        raise InputError(f"{where} (limit {limit:.3g} eV/atom): correct it, or leave the frame out")
    found = _unexplained(labels, worst)
    if found is not None:
        other, missing, done = found
        raise InputError(
            f"{where}, and {missing:.2g} eV/atom from what forces and stress say of the way to "
            f"frame {other + 1}, which is near it (work {done:.2g} eV/atom): correct it, or leave "
            "the frame out"
        )


def _strained(label: Label) -> float:
    """How high, eV/atom, forces over 1 Å and stress over the volume say that a frame may lie."""
    pressed = np.abs(label.stress).max() * label.atoms.get_volume() / len(label.atoms)
    return float(np.abs(label.forces).max() + pressed)


def notices(labels: Sequence[Label]) -> list[str]:
    """What is worth a look in labelled frames, one line each."""
    found = []
    left = residuals(labels)
    far, gap = _apart(left)
    if len(far) and gap > NOTED_GAP_EV_PER_ATOM:
        numbers = ", ".join(str(n + 1) for n in far[:5]) + (" …" if len(far) > 5 else "")
        found.append(f"frame(s) {numbers} lie {gap:.2g} eV/atom from all others: are they meant?")
    found += _per_atom(labels)
    also: dict[str, float] = {}
    for label in labels:
        for name, energy in dict(label.made.get(ALSO) or {}).items():
            also[name] = max(also.get(name, 0.0), abs(energy - label.energy))
    found += [
        f"`energy` is taken; `{name}` is there too and differs by up to {apart:.3g} eV"
        for name, apart in also.items()
        if apart > 1e-6
    ]
    return found


def residuals(labels: Sequence[Label]) -> Array:
    """(frames,) energy per atom without what the elements contribute, eV/atom."""
    if not labels:
        return np.zeros(0)
    numbers = sorted({int(n) for label in labels for n in label.atoms.numbers})
    counts = np.array([[(label.atoms.numbers == n).sum() for n in numbers] for label in labels])
    sizes = counts.sum(axis=1)
    shares = counts / sizes[:, None]
    energies = np.array([label.energy for label in labels]) / sizes
    shift = float(np.median(energies))
    weights, fit = np.ones(len(labels)), np.zeros(len(numbers))
    for _ in range(FIT_STEPS):
        root = np.sqrt(weights)
        fit = np.linalg.lstsq(shares * root[:, None], (energies - shift) * root, rcond=1e-10)[0]
        left = energies - shift - shares @ fit
        weights = 1.0 / np.maximum(np.abs(left), 1e-4)
    left = energies - shift - shares @ fit
    return np.asarray(left, dtype=float)


def _apart(left: Array) -> tuple[NDArray[np.int_], float]:
    """The frames beyond the widest gap in sorted residuals, the fewer ones; and the gap."""
    if len(left) < 2:
        return np.zeros(0, dtype=int), 0.0
    order = np.argsort(left, kind="stable")
    gaps = np.diff(left[order])
    at = int(gaps.argmax()) + 1
    far = order[at:] if len(left) - at <= at else order[:at]
    return far, float(gaps[at - 1])


def _unexplained(labels: Sequence[Label], at: int) -> tuple[int, float, float] | None:
    """The nearest frame, the energy that the work to it misses, and the work, eV/atom.

    None where none is near, or where the work is as large as what it misses.
    """
    one, best = labels[at], None
    others = [n for n in range(len(labels)) if n != at]
    for n in others[:: max(1, len(others) // MAX_NEAR)]:
        done = work(one, labels[n])
        if done is not None and (best is None or sum(map(abs, done)) < best[2]):
            best = n, labels[n].energy - one.energy - sum(done), sum(map(abs, done))
    if best is None:
        return None
    other, missing, done_ = best[0], abs(best[1]) / len(one.atoms), best[2] / len(one.atoms)
    return (
        (other, missing, done_) if missing > SUSPECT_GAP_EV_PER_ATOM + WORK_FACTOR * done_ else None
    )


def _per_atom(labels: Sequence[Label]) -> list[str]:
    """Whether energies do not grow with the cell: they are per atom, then."""
    groups: dict[str, dict[int, list[float]]] = {}
    for label in labels:
        sizes = groups.setdefault(reduced_formula(label.atoms), {})
        sizes.setdefault(len(label.atoms), []).append(label.energy)
    for formula, sizes in groups.items():
        few, many = min(sizes), max(sizes)
        one, other = float(np.median(sizes[few])), float(np.median(sizes[many]))
        grown = abs(other - one) / max(abs(one), abs(other), 1e-9)
        if few < many and max(abs(one), abs(other)) > 1.0 and grown < INTENSIVE * (1 - few / many):
            return [
                f"energies look like energies per atom: {formula} has {one:.4g} eV in {few} atoms "
                f"and {other:.4g} eV in {many}; the energy of the whole frame is needed"
            ]
    return []
