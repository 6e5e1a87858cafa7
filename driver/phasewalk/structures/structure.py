"""Structures: reading and checking them, their fingerprint, random perturbations, clashes."""

import contextlib
import functools
import hashlib
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.typing import NDArray

from ..errors import InputError, ParseError, brief
from . import carried, guesses, lammps_data

Array = NDArray[np.float64]

MAX_REDRAWS = 200
_WIDE = re.compile(rb'roperties="?[^\s"]*:[0-9_]{4}')
MAX_LENGTH_A, MIN_HEIGHT_A, MIN_VOLUME_A3 = 1e4, 0.5, 1.0
"""Limits of the cell, beyond which the neighbour search would need too much memory."""
MAX_COMPARED = 100
"""Number of atoms up to which all pairs are compared; for more, a list of neighbours is quicker."""


_HINTS = (
    (
        r"KeyError: '[DT]'",
        "an isotope is not an element; write H and a column masses with 2.014 for D",
    ),
    (r"KeyError: '\d+'", "expected element symbols, found numbers"),
)


def read_structure(path: Path) -> Atoms:
    """Read one structure from a file in any format that ASE reads, and check it.

    FILE@0 is the first of several, FILE@-1 the last. LAMMPS data files must give the element of
    each type.

    Raises:
        InputError: the file is unreadable or ambiguous, has several structures and no @ is given,
            or the structure is not a valid crystal with three periodic directions.
    """
    file, index = _pointed(path)
    if file.is_file() and lammps_data.is_data_file(file):
        frames = [_guarded(file, "structure ", lammps_data.read, file)]
    else:
        if file.is_file():
            _guarded(file, "structure ", _check_open, file, index)
        frames = read_frames(file, ":", what="structure ")
    atoms = _one(frames, file, index)
    try:
        guesses.check_shares(atoms.info, atoms.arrays, atoms.get_chemical_symbols())
        found = carried.checked(atoms)
    except InputError as error:
        raise InputError(f"structure {path}: {brief(error)}") from error
    check_structure(found, str(path))
    return bare(found)


def _pointed(path: Path) -> tuple[Path, int | None]:
    """The file and index of FILE@INDEX."""
    found = re.fullmatch(r"(.+)@(-?\d{1,9})", str(path), re.DOTALL)
    if found is None or path.is_file():
        return path, None
    return Path(found[1]), int(found[2])


def _check_open(path: Path, index: int | None) -> None:
    from ase.io.formats import filetype

    guesses.check(path, filetype(str(path)), index)


def _one(frames: list[Atoms], path: Path, index: int | None) -> Atoms:
    """The structure with this index, or the only one."""
    if not frames:
        raise InputError(f"structure {path}: the file contains no structure")
    count = len(frames)
    if index is None and count > 1:
        raise InputError(
            f"structure {path}: the file contains {count} structures; select one, for example "
            f"{path.name}@0 for the first or {path.name}@-1 for the last"
        )
    if index is not None and not -count <= index < count:
        raise InputError(
            f"structure {path}@{index}: the file contains only {count} structure(s), counted from "
            "0 (-1 is the last); use another number after @"
        )
    return frames[index or 0]


def _guarded(path: Path, what: str, function: Any, *arguments: Any) -> Any:
    """Call a reader; any exception becomes an InputError of one line that starts with `what`."""
    try:
        return function(*arguments)
    except ParseError:
        raise
    except InputError as error:
        raise InputError(f"{what}{path}: {brief(error)}") from error
    except Exception as error:  # ASE's readers raise anything
        reason = brief(f"{type(error).__name__}: {error}")
        hint = next((f"; {hint}" for pattern, hint in _HINTS if re.search(pattern, reason)), "")
        raise InputError(f"{what}{path}: ASE cannot read it ({reason}){hint}") from error


def read_frames(path: Path, index: str, what: str = "") -> list[Atoms]:
    """Frames of a file in any format that ASE reads; messages start with `what`.

    Raises:
        InputError: no such file, or an unreadable one.
    """
    try:
        if not path.is_file():
            raise InputError(f"{what}{path}: no such file")
    except (OSError, ValueError) as error:  # a name too long, or with a null character
        raise InputError(f"{what}{path}: no such file") from error
    _guarded(path, what, _check_counts, path)
    frames: list[Atoms] = _guarded(path, what, _frames, path, index)
    return frames


def _frames(path: Path, index: str) -> list[Atoms]:
    import ase.io

    with warnings.catch_warnings(action="ignore"):  # what matters is checked before
        frames: list[Atoms] = ase.io.read(path, index=index, do_not_split_by_at_sign=True)
    return frames


def _check_counts(path: Path) -> None:
    """Raise ParseError if a header has more atoms or columns than the file can hold.

    ASE would allocate memory for them.
    """
    from ase.io.formats import filetype

    kind = filetype(str(path))
    if kind not in ("xyz", "extxyz", "vasp"):
        return
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, start=1):
        if _WIDE.search(line):
            raise ParseError(
                path, f"cannot read it: a property with more than 999 columns: {line!r}", number
            )
        words = line.split()
        if number not in (6, 7) if kind == "vasp" else len(words) != 1:
            continue
        with contextlib.suppress(ValueError):
            if sum(int(word) for word in words) > len(lines):  # as ASE reads them
                raise ParseError(
                    path, f"cannot read it: more atoms than lines in the file: {line!r}", number
                )


def check_structure(atoms: Atoms, where: str) -> None:
    """Raise InputError if the atoms are not a valid periodic structure."""
    if len(atoms) == 0:
        raise InputError(f"structure {where}: it has no atoms; give a structure with atoms")
    if not atoms.pbc.all():
        raise InputError(
            f"structure {where}: it must be periodic in three dimensions, but pbc is "
            f"{' '.join('TF'[not p] for p in atoms.pbc)}; write the cell into the file"
        )
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise InputError(
            f"structure {where}: positions or cell contain a value that is not finite; correct them"
        )
    reach = max(np.abs(atoms.positions).max(), np.abs(atoms.cell.array).max())
    if reach > MAX_LENGTH_A:
        raise InputError(
            f"structure {where}: a cell vector or a position is {reach:.3g} Å long (limit "
            f"{MAX_LENGTH_A:g} Å); correct it"
        )
    volume = float(np.linalg.det(atoms.cell.array))
    if volume < 0:
        raise InputError(
            f"structure {where}: the cell is left-handed (LAMMPS needs a right-handed one); "
            "swap two cell vectors"
        )
    if volume < MIN_VOLUME_A3:
        raise InputError(
            f"structure {where}: the cell's volume is {volume:.3g} Å³ (limit {MIN_VOLUME_A3:g} Å³)"
            "; write the cell into the file"
        )
    thinnest = 1.0 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0).max()
    if thinnest < MIN_HEIGHT_A:
        raise InputError(
            f"structure {where}: two faces of the cell are only {thinnest:.3g} Å apart (limit "
            f"{MIN_HEIGHT_A:g} Å); use the reduced cell"
        )
    if (atoms.numbers <= 0).any():
        raise InputError(
            f"structure {where}: an atom has no element (X or atomic number 0); give it one or "
            "remove it"
        )
    closest = clash(atoms, 0.4)
    if closest is not None:
        raise InputError(
            f"structure {where}: {closest}; correct the positions or remove one of the two atoms"
        )


def bare(atoms: Atoms) -> Atoms:
    """A new periodic object with elements, positions, cell and optional properties only."""
    found = Atoms(
        numbers=atoms.numbers.copy(),
        positions=atoms.positions.copy(),
        cell=atoms.cell.array.copy(),
        pbc=True,
    )
    return carried.carry(found, carried.extras(atoms))


def fingerprint(atoms: Atoms) -> str:
    """SHA-256 of everything that a label depends on, bit for bit and in order.

    Elements, positions and cell; moments and charges if there are any.
    """
    digest = hashlib.sha256()
    digest.update(np.asarray(atoms.numbers, dtype="<i8").tobytes())
    digest.update(np.asarray(atoms.positions, dtype="<f8").tobytes())
    digest.update(np.asarray(atoms.cell.array, dtype="<f8").tobytes())
    found = carried.extras(atoms)
    for name in (carried.MOMENTS, carried.CHARGES):
        if name in found:
            digest.update(name.encode())
            digest.update(np.asarray(found[name], dtype="<f8").tobytes())
    return digest.hexdigest()


def species(structures: list[Atoms]) -> tuple[str, ...]:
    """Element symbols in all structures, sorted by name: the model's type order."""
    return tuple(
        sorted({symbol for atoms in structures for symbol in atoms.get_chemical_symbols()})
    )


def apart(atoms: Atoms, radii: Array) -> bool:
    """Whether no two atoms are nearer than the sum of their radii, if that is quickly seen.

    False if they may be, or if a list of neighbours is quicker. A vector shorter than half of all
    heights of the cell has scaled components below 1/2: rounding them gives its only image.

    Args:
        atoms: with positions and cell that are finite.
        radii: (N,) Å.
    """
    if len(atoms) > MAX_COMPARED or not atoms.pbc.all() or not atoms.cell.volume:
        return False
    inverse, reach = np.linalg.inv(atoms.cell.array), 2.0 * float(radii.max(initial=0.0))
    if 2.0 * reach * float(np.linalg.norm(inverse, axis=0).max()) >= 1.0:
        return False
    first, second = np.triu_indices(len(atoms), 1)
    scaled = atoms.positions @ inverse
    between = scaled[first] - scaled[second]
    between -= np.rint(between)
    vectors = between @ atoms.cell.array
    limits = (radii[first] + radii[second]) * (1.0 + 1e-6)
    return bool((np.einsum("ij,ij->i", vectors, vectors) > limits**2).all())


def clash(atoms: Atoms, fraction: float) -> str | None:
    """Describe the closest pair that is nearer than `fraction` × the sum of covalent radii.

    Returns:
        None if there is no such pair.
    """
    from ase.neighborlist import neighbor_list

    radii = fraction * covalent_radii[atoms.numbers]
    if apart(atoms, radii):
        return None
    first, second, distances = neighbor_list("ijd", atoms, radii)
    if len(distances) == 0:
        return None
    worst = int(np.argmin(distances / (radii[first] + radii[second])))
    i, j = int(first[worst]), int(second[worst])
    limit = radii[i] + radii[j]
    return (
        f"{atoms.symbols[i]}{i + 1}–{atoms.symbols[j]}{j + 1} are {distances[worst]:.2f} Å apart "
        f"(limit {limit:.2f} Å, {fraction:g} × the sum of covalent radii)"
    )


def closest_contact(atoms: Atoms) -> float | None:
    """Distance of the closest pair, as a fraction of the sum of its covalent radii.

    Returns:
        None if no pair is closer than twice that sum, or positions or cell are out of range (as
        after a breakdown).
    """
    from ase.neighborlist import neighbor_list

    cell = atoms.cell.array
    if not (np.isfinite(atoms.positions).all() and np.isfinite(cell).all()):
        return None
    reach = max(np.abs(atoms.positions).max(), np.abs(cell).max())
    volume = abs(float(np.linalg.det(cell))) if reach < MAX_LENGTH_A else 0.0
    if (
        volume < MIN_VOLUME_A3
        or 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0).max() < MIN_HEIGHT_A
    ):
        return None
    for fraction in (1.2, 2.0):  # bonds are within the first, which is five times faster
        radii = covalent_radii[atoms.numbers]
        first, second, distances = neighbor_list("ijd", atoms, fraction * radii)
        if len(distances):
            return float((distances / (radii[first] + radii[second])).min())
    return None


def perturb(
    atoms: Atoms,
    rng: np.random.Generator,
    *,
    displacement_A: float,
    strain: float,
    min_distance_fraction: float,
) -> Atoms:
    """Uniform random displacements on a random symmetric strain, redrawn if atoms clash.

    Each Cartesian component moves by up to ±`displacement_A`; each of the six independent strain
    components is uniform in ±`strain` (Vandenhaute et al. 2023, Methods). Fixed atoms are not
    moved; if there are any, the cell is not strained.

    Raises:
        InputError: no draw without a clash was found.
    """
    held = carried.fixed(atoms)
    if held.any():
        strain = 0.0
    for _ in range(MAX_REDRAWS):
        upper = np.triu(rng.uniform(-strain, strain, (3, 3)))
        deformation = np.eye(3) + upper + np.triu(upper, 1).T
        moved = bare(atoms)
        if strain:
            moved.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
        displacements = rng.uniform(-displacement_A, displacement_A, (len(atoms), 3))
        moved.positions += np.where(held[:, None], 0.0, displacements)
        found = clash(moved, min_distance_fraction)
        if found is None:
            return moved
    raise InputError(
        f"no perturbation without a clash in {MAX_REDRAWS} draws (the last one: {found}); "
        "lower bootstrap.displacement_A, bootstrap.strain or bootstrap.min_distance_fraction"
    )


def difference(atoms: Atoms, other: Atoms) -> tuple[float, float]:
    """Difference of two frames of the same atoms in the same order.

    Returns:
        The root mean square (Å) of the atoms' displacements at the mean cell, without a common
        translation and by the shortest way; and the largest strain component between the cells.
    """
    cells = atoms.cell.array, other.cell.array
    moved = atoms.get_scaled_positions(wrap=False) - other.get_scaled_positions(wrap=False)
    moved -= np.round(moved - moved[0])  # whole cells, relative to the first atom
    moved -= moved.mean(axis=0)
    displacements = moved @ (0.5 * (cells[0] + cells[1]))
    rmsd = float(np.sqrt(np.mean(np.sum(displacements**2, axis=1))))
    deformation = np.linalg.solve(cells[1], cells[0]) - np.eye(3)
    return rmsd, float(np.abs(deformation + deformation.T).max() / 2)


def reduced_formula(atoms: Atoms) -> str:
    """Composition in smallest whole numbers, Hill order: the same for a cell and its supercell."""
    return _reduced_formula(np.asarray(atoms.numbers, dtype="<i8").tobytes())


@functools.lru_cache(maxsize=1024)
def _reduced_formula(numbers: bytes) -> str:
    """Reduced formula of atomic numbers; cached, since thousands of frames have the same."""
    formula = Atoms(numbers=np.frombuffer(numbers, dtype="<i8")).symbols.formula
    return str(formula.reduce()[0].format("hill"))


def cell_multiple(atoms: Atoms) -> int:
    """Number of primitive cells in the cell (spglib, tolerance 0.1 Å); 1 if none is found."""
    import spglib

    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    # spglib warns that it will raise an exception in future instead of returning None.
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        primitive = spglib.find_primitive(cell, symprec=0.1)
    return 1 if primitive is None else max(1, round(len(atoms) / len(primitive[2])))
