"""Energy, forces and stress of a labelled frame read from a file, validated."""

import contextlib
import re
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ..errors import InputError, brief

Array = NDArray[np.float64]

VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])
ALSO = "other energies"
"""Key in a label's `made` for energies that its frame has under other names."""
MAX_STRESS_DIFFERENCE = 1e-3
"""Relative to the largest component; a virial is printed with fewer digits than a stress."""
MIN_STRESS_DIFFERENCE = 1e-5
"""eV/Å³ (1.6 MPa)."""
MAX_WHOLE = 1e300
MAX_NAMES, MAX_NAME, MAX_SHOWN = 4, 24, 100
_NEEDED = ("energy", "forces", "stress")
_HEADER = re.compile(r'\b(energy|free_energy|stress|virial)=("[^"]*"|\S+)', re.IGNORECASE)
_OTHERS = re.compile(
    r"(free|ref|reference|dft|qm|scf|total|potential|target|corrected|uncorrected)_?energy",
    re.IGNORECASE,
)
_COLUMNS = re.compile(r"[=:]forces?:([A-Z]):", re.IGNORECASE)
_TRUNCATED = re.compile(r"(?<![\d.])[-+]?\d+[eE][-+]?\d+(?![\d.])")


def values(atoms: Atoms, where: str) -> tuple[float, Array, Array]:
    """Energy (eV), forces (N, 3), eV/Å, and stress (6,) Voigt, eV/Å³, tension positive.

    Raises:
        InputError: one is missing, not a number or not finite, or stress and virial differ.
    """
    found: dict[str, Any] = dict(atoms.calc.results) if atoms.calc is not None else {}
    virial = atoms.info.get("virial")
    missing = [n for n in _NEEDED if n not in found and (n != "stress" or virial is None)]
    if missing:
        raise InputError(
            f"{where}: no {' and no '.join(missing)}; required: energy (eV), forces (eV/Å) and "
            f"stress (eV/Å³, tension positive), as ASE writes them, or virial (eV){_meant(atoms)}"
        )
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise InputError(f"{where}: positions or cell contain a value that is not finite")
    if not atoms.pbc.all() or abs(np.linalg.det(atoms.cell.array)) < 1.0:
        raise InputError(f"{where}: not periodic in three dimensions")
    energy = _numbers(found["energy"], (), "energy", where)
    forces = _numbers(found["forces"], (len(atoms), 3), "forces", where)
    stress = _numbers(found["stress"], (6,), "stress", where) if "stress" in found else None
    if virial is not None:
        from_virial = _from_virial(virial, atoms, where)
        if stress is None:
            return float(energy), forces, from_virial
        _agree(stress, from_virial, where)
    return float(energy), forces, np.zeros(6) if stress is None else stress


def other_energies(atoms: Atoms) -> dict[str, float]:
    """Energies that a frame has under other names than `energy`, eV; these are not used."""
    named = {**atoms.info, **(atoms.calc.results if atoms.calc is not None else {})}
    return {
        str(name): float(value)
        for name, value in named.items()
        if _OTHERS.fullmatch(str(name))
        and isinstance(value, int | float | np.number)
        and not isinstance(value, bool)
    }


def _meant(atoms: Atoms) -> str:
    """A hint with names in the file that may be meant for the missing ones."""
    results = atoms.calc.results if atoms.calc is not None else {}
    names = [
        str(name)
        for name in (*atoms.info, *atoms.arrays, *results)
        if re.search(r"energy|force|stress|virial", str(name), re.IGNORECASE)
        and name not in (*_NEEDED, "virial")
    ]
    shown = ", ".join(name[:MAX_NAME] for name in names[:MAX_NAMES])
    return f"; found {brief(shown)}; rename the right ones" if names else ""


def _numbers(value: Any, shape: tuple[int, ...], what: str, where: str) -> Array:
    """Finite numbers of a given shape, as floats; booleans and strings are errors."""
    found = np.asarray(value)
    if found.dtype.kind not in "fiu":
        raise InputError(f"{where}: {what} is not a number: {brief(repr(value))[:MAX_SHOWN]}")
    if found.shape != shape:
        wanted = " × ".join(map(str, shape)) or "one"
        raise InputError(f"{where}: {what} must be {wanted} number(s), not {found.shape}")
    if not np.isfinite(found).all():
        raise InputError(f"{where}: {what} contains a value that is not finite")
    return found.astype(float)


def _from_virial(virial: Any, atoms: Atoms, where: str) -> Array:
    tensor = _numbers(virial, (3, 3), "virial", where)
    if np.abs(tensor - tensor.T).max() > MAX_STRESS_DIFFERENCE * max(1.0, np.abs(tensor).max()):
        raise InputError(f"{where}: the virial is not symmetric: {tensor.tolist()}")
    stress: Array = (-tensor / abs(np.linalg.det(atoms.cell.array)))[VOIGT]
    return stress


def _agree(stress: Array, from_virial: Array, where: str) -> None:
    """Raise InputError if the stress differs from that of the virial."""
    limit = max(MIN_STRESS_DIFFERENCE, MAX_STRESS_DIFFERENCE * float(np.abs(stress).max()))
    apart = np.abs(stress - from_virial)
    if apart.max() <= limit:
        return
    at = int(apart.argmax())
    turned = bool(np.abs(stress + from_virial).max() <= limit)
    hint = "; they differ in sign" if turned else ""
    raise InputError(
        f"{where}: stress and virial are inconsistent: component "
        f"{('xx', 'yy', 'zz', 'yz', 'xz', 'xy')[at]} of the stress is {stress[at]:.5g} eV/Å³, and "
        f"−virial/volume is {from_virial[at]:.5g} (tolerance {limit:.1g}){hint}; remove the wrong "
        "one"
    )


def check_text(path: Path) -> None:
    """Raise InputError if ASE would misread a value in an extxyz file.

    ASE truncates numbers with an exponent but no decimal point to integers (-5698e-2 becomes -56),
    reads only one triangle of a stress, and reads what is left of a last number that was cut off.
    """
    if path.suffix.lower() not in (".xyz", ".extxyz"):
        return
    frame, line, number = 0, "\n", 0
    with path.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, start=1):
            if "Properties=" not in line:
                continue
            frame += 1
            kind = _COLUMNS.search(line)
            if kind and kind[1].upper() not in ("R", "I"):
                raise InputError(f"{path}, frame {frame} (line {number}): forces is not a number")
            for name, text in _HEADER.findall(line):
                wrong = _misread(name, text.strip('"'))
                if wrong:
                    raise InputError(f"{path}, frame {frame} (line {number}): {name} {wrong}")
    if not line.endswith("\n"):
        raise InputError(
            f"{path}, line {number}: the last line has no end, so the file may be cut off in a "
            "number; if it is complete, end it with a newline"
        )


def _misread(name: str, text: str) -> str:
    """The error ASE would make in reading a value of a frame's header; "" if none."""
    for cut in _TRUNCATED.findall(text):
        if not float(cut).is_integer() and abs(float(cut)) < MAX_WHOLE:
            shown = cut[:MAX_NAME]
            return f"contains {shown}, which ASE reads as an integer; write it with a decimal point"
    words = text.split()
    with contextlib.suppress(ValueError):
        if name.lower() == "stress" and len(words) == 9:
            tensor = np.array([float(word) for word in words]).reshape(3, 3)
            if not np.isfinite(tensor).all():
                return "contains a value that is not finite"
            apart = float(np.abs(tensor - tensor.T).max())
            if apart > MIN_STRESS_DIFFERENCE + MAX_STRESS_DIFFERENCE * np.abs(tensor).max():
                return f"is not symmetric (by {apart:.3g} eV/Å³): {text[:MAX_SHOWN]}"
    return ""


def unreadable(path: Path, error: InputError) -> InputError:
    """The same error with the number of the frame at which ASE stops, where that can be told."""
    import ase.io

    read = 0
    try:
        if not path.is_file():
            return error
        for read, _ in enumerate(ase.io.iread(path, index=":"), start=1):  # noqa: B007
            pass
    except Exception:  # ASE's readers raise anything
        return InputError(f"{error} (frame {read + 1})") if read or path.suffix else error
    return error
