"""Labels: energy, forces and stress of one frame at one level of theory."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols
from numpy.typing import NDArray
from pydantic import Field

from ..errors import InputError, ParseError
from ..files import made_by, numbers, typed
from ..structures import carried, fingerprint, reduced_formula
from .levels import Level, method_of

Array = NDArray[np.float64]

SCHEMA = 2
CARRIED = {
    carried.MOMENTS: "magnetic_moments",
    carried.CHARGES: "charges",
    carried.MASSES: "masses_amu",
    carried.FIXED: "fixed",
}
"""JSON keys of the properties that a frame may have beside elements, positions and cell."""


@dataclass(frozen=True)
class Label:
    """One labelled frame.

    Attributes:
        key: content address, computed from the frame and the level.
        atoms: the frame (Å).
        energy: eV.
        forces: (N, 3), eV/Å.
        stress: (6,) Voigt xx yy zz yz xz xy, eV/Å³, tension positive.
        level: key of the level of theory.
        origin: where the frame comes from (system, round, walker, step …).
        seconds: wall time of the reference.
        made: how it was computed (program, version, attempt, number of SCF steps …).
    """

    key: str
    atoms: Atoms
    energy: float
    forces: Array
    stress: Array
    level: str
    origin: Mapping[str, Any]
    seconds: float
    made: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def training_text(self) -> str:
        """The frame as a training reads it, kept because every generation reads all frames."""
        from .extxyz import training_text

        return training_text(self)

    def with_results(self) -> Atoms:
        """The frame with a calculator that contains the label, as ASE writes and reads it."""
        atoms = self.atoms.copy()
        atoms.calc = SinglePointCalculator(
            atoms, energy=self.energy, forces=self.forces, stress=self.stress
        )
        info = {"key": self.key, "level": self.level, **self.origin}
        # After an empty value, ASE would read the next key as its value.
        atoms.info.update({name: value for name, value in info.items() if value != ""})
        return atoms


def label_key(atoms: Atoms, at: Level) -> str:
    """Content address of the label of this frame at this level."""
    return content_key(atoms, at.key)


def content_key(atoms: Atoms, level_key: str) -> str:
    """Content address of the label of this frame at the level with this key."""
    return hashlib.sha256(f"{fingerprint(atoms)} {level_key}".encode()).hexdigest()[:24]


def content_hash(label: Label) -> str:
    """Hash of all numbers of a label."""
    digest = hashlib.sha256(fingerprint(label.atoms).encode())
    for values in (np.array([label.energy]), label.forces, label.stress):
        digest.update(np.asarray(values, dtype="<f8").tobytes())
    return digest.hexdigest()[:24]


def check(label: Label, *, max_force: float = math.inf, max_net_force: float = math.inf) -> None:
    """Raise InputError if a label is invalid or exceeds a limit; forces in eV/Å."""
    count = len(label.atoms)
    if label.forces.shape != (count, 3) or label.stress.shape != (6,):
        raise InputError(
            f"label {label.key}: forces {label.forces.shape} and stress {label.stress.shape} "
            f"do not match {count} atoms"
        )
    if not (
        math.isfinite(label.energy)
        and np.isfinite(label.forces).all()
        and np.isfinite(label.stress).all()
    ):
        raise InputError(f"label {label.key}: energy, forces or stress are not finite")
    largest = float(np.abs(label.forces).max())
    if largest > max_force:
        raise InputError(
            f"label {label.key}: largest force component {largest:.1f} eV/Å exceeds "
            f"{max_force:g} (reference.max_force_eV_per_A)"
        )
    with np.errstate(over="ignore"):  # numbers in a file may have any size
        net = float(np.linalg.norm(label.forces.sum(axis=0)))
    limit = max_net_force * math.sqrt(count)  # the noise of a grid grows like this
    if net > limit:
        raise InputError(
            f"label {label.key}: net force {net:.2f} eV/Å exceeds {limit:.2f} "
            f"({max_net_force:g} × √{count}, reference.max_net_force_eV_per_A); use a finer grid "
            "in the reference"
        )


def frame_to_json(atoms: Atoms) -> dict[str, Any]:
    """A frame as JSON lists, exact to the last bit.

    Elements, positions (Å), cell (rows, Å); and, if present, initial `magnetic_moments` (Bohr
    magnetons) and `charges` (e), `masses_amu`, `fixed`.
    """
    return {
        "numbers": atoms.numbers.tolist(),
        "positions_A": atoms.positions.tolist(),
        "cell_A": atoms.cell.array.tolist(),
        **{CARRIED[name]: values.tolist() for name, values in carried.extras(atoms).items()},
    }


def frame_from_json(data: Mapping[str, Any]) -> Atoms:
    """The reverse of `frame_to_json`; periodic. ValueError if it is not a frame."""
    numbers = np.array(data["numbers"])
    positions, cell = (np.array(data[key], dtype=float) for key in ("positions_A", "cell_A"))
    if numbers.ndim != 1 or numbers.dtype.kind != "i" or not len(numbers):
        raise ValueError("atomic numbers are not integers")
    if numbers.min() < 1 or numbers.max() >= len(chemical_symbols):
        raise ValueError("an atomic number is not that of an element")
    if positions.shape != (len(numbers), 3) or cell.shape != (3, 3):
        raise ValueError("positions or cell have a wrong shape")
    if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
        raise ValueError("positions or cell are not finite")
    atoms = Atoms(numbers=numbers, positions=positions, cell=cell, pbc=True)
    return carried.carry(atoms, _extras(data, len(numbers)))


FrameJson = Annotated[Atoms, made_by(frame_from_json)]
"""A frame in a file that `files.read` reads."""


def _extras(data: Mapping[str, Any], count: int) -> dict[str, NDArray[Any]]:
    """Optional properties of a frame; ValueError if one has a wrong shape."""
    found: dict[str, NDArray[Any]] = {}
    for name, key in CARRIED.items():
        if key not in data:
            continue
        kind = bool if name == carried.FIXED else float
        found[name] = values = np.array(data[key], dtype=kind)
        shapes = [(count,), (count, 3)] if name == carried.MOMENTS else [(count,)]
        if values.shape not in shapes or not np.isfinite(values).all():
            raise ValueError(f"{key} have a wrong shape or are not finite")
        if name == carried.MASSES and not (values > 0).all():
            raise ValueError("a mass is not positive")
    return found


def to_json(label: Label) -> str:
    """A label as the text of its file."""
    return json.dumps(
        {
            "schema": SCHEMA,
            "key": label.key,
            "level": label.level,
            "origin": dict(label.origin),
            "frame": frame_to_json(label.atoms),
            "energy_eV": label.energy,
            "forces_eV_per_A": label.forces.tolist(),
            "stress_eV_per_A3": label.stress.tolist(),
            "seconds": label.seconds,
            "made": dict(label.made),
            "sha256": content_hash(label),
        }
    )


@dataclass(frozen=True)
class _Stored(Label):
    """A label as its file has it; see `to_json`."""

    atoms: Annotated[FrameJson, Field(alias="frame")]
    energy: Annotated[float, Field(alias="energy_eV")]
    forces: Annotated[Array, numbers(None, 3), Field(alias="forces_eV_per_A")]
    stress: Annotated[Array, numbers(6), Field(alias="stress_eV_per_A3")]
    made: Mapping[str, Any]
    sha256: str


def from_json(text: str, path: Path) -> Label:
    """A label from the text of its file; ParseError if it is not valid."""
    stored = typed(text, _Stored, unlike="not a label", path=path)
    label = Label(**{one.name: getattr(stored, one.name) for one in fields(Label)})
    try:
        check(label)
    except InputError as error:
        raise ParseError(path, f"not a label ({error})") from error
    if content_hash(label) != stored.sha256:
        raise ParseError(path, "not a label (its numbers do not match its sha256)")
    return label


def split(count: int, validation_every: int) -> list[bool]:
    """Whether each label, in the order of the campaign, is held out for validation.

    One of each block of `validation_every` labels is; its position moves by three from block to
    block, so that it is not always the same walker. A longer list never changes earlier entries.
    """
    return [
        index % validation_every
        == (validation_every - 1 + 3 * (index // validation_every)) % validation_every
        for index in range(count)
    ]


def same_level(labels: Sequence[Label]) -> None:
    """Raise InputError if labels of different levels of theory would train one model.

    All must have the same method, and those of one composition the same sampling.
    """
    methods = sorted({method_of(label.level) for label in labels})
    if len(methods) > 1:
        raise InputError(
            f"labels of {len(methods)} methods ({', '.join(methods)}) cannot train one model"
        )
    levels: dict[str, str] = {}
    for label in labels:
        formula = reduced_formula(label.atoms)
        if levels.setdefault(formula, label.level) != label.level:
            raise InputError(
                f"labels of {formula} at two levels of theory ({levels[formula]} and "
                f"{label.level}, which differ in cell and sampling) cannot train one model"
            )
