"""Checks of the energies of labelled frames against each other: errors and notes.

Energies per atom differ by the contributions of the elements, which are fitted (least absolute
deviations, robust against a few wrong frames), and by structure: phases of one composition are
within a few eV per atom of each other.
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
"""Larger differences from all other frames are errors, unless the frame is compressed."""
FORCE_FACTOR = 2.0
"""A compressed frame has a high energy, but also large forces and stress, which raise the limit."""
NOTED_GAP_EV_PER_ATOM, SUSPECT_GAP_EV_PER_ATOM = 2.0, 0.3
"""Above the first limit a note is printed; above the second a frame is checked with a near one."""
WORK_FACTOR = 3.0
"""Allowed difference between energy and work of near frames, as a multiple of the work."""
MAX_NEAR, FIT_STEPS = 60, 60
INTENSIVE = 0.2
"""Relative growth of the energy with the cell below which energies are taken to be per atom."""


def check_energies(labels: Sequence[Label], path: object) -> None:
    """Raise InputError if a frame's energy is inconsistent with the others'."""
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
        raise InputError(f"{where} (limit {limit:.3g} eV/atom); correct it or remove the frame")
    found = _unexplained(labels, worst)
    if found is not None:
        other, missing, done = found
        raise InputError(
            f"{where}, and differs by {missing:.2g} eV/atom from the work of forces and stress to "
            f"the near frame {other + 1} ({done:.2g} eV/atom); correct it or remove the frame"
        )


def _strained(label: Label) -> float:
    """Energy (eV/atom) that forces over 1 Å and stress over the volume may account for."""
    pressed = np.abs(label.stress).max() * label.atoms.get_volume() / len(label.atoms)
    return float(np.abs(label.forces).max() + pressed)


def notices(labels: Sequence[Label]) -> list[str]:
    """Notes on the energies of labelled frames, one line each."""
    found = []
    left = residuals(labels)
    far, gap = _apart(left)
    if len(far) and gap > NOTED_GAP_EV_PER_ATOM:
        numbers = ", ".join(str(n + 1) for n in far[:5]) + (" …" if len(far) > 5 else "")
        found.append(f"frame(s) {numbers} differ by {gap:.2g} eV/atom from all others; check them")
    found += _per_atom(labels)
    also: dict[str, float] = {}
    for label in labels:
        for name, energy in dict(label.made.get(ALSO) or {}).items():
            also[name] = max(also.get(name, 0.0), abs(energy - label.energy))
    found += [
        f"`energy` is used; `{name}` is also present and differs by up to {apart:.3g} eV"
        for name, apart in also.items()
        if apart > 1e-6
    ]
    return found


def residuals(labels: Sequence[Label]) -> Array:
    """(frames,) energy per atom minus the fitted contributions of the elements, eV/atom."""
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
    """The smaller group of frames beyond the widest gap in the sorted residuals, and the gap."""
    if len(left) < 2:
        return np.zeros(0, dtype=int), 0.0
    order = np.argsort(left, kind="stable")
    gaps = np.diff(left[order])
    at = int(gaps.argmax()) + 1
    far = order[at:] if len(left) - at <= at else order[:at]
    return far, float(gaps[at - 1])


def _unexplained(labels: Sequence[Label], at: int) -> tuple[int, float, float] | None:
    """The nearest frame, the energy difference minus the work, and the work, eV/atom.

    None if no frame is near, or the difference is small compared with the work.
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
    """A note if energies do not grow with the cell, as energies per atom."""
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
                f"and {other:.4g} eV in {many}; give the energy of the whole frame"
            ]
    return []
