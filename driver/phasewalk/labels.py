"""Labels: energy, forces and stress of one frame at one level of theory."""

import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols
from numpy.typing import NDArray
from pydantic import Field

from .errors import UNREADABLE, InputError, ParseError
from .jobs import Finished, Job
from .settings import Settings
from .structures import fingerprint, reduced_formula

Array = NDArray[np.float64]

REQUEST, RESULT = "request.json", "result.json"
REFERENCE = (sys.executable, "-m", "phasewalk.reference")


class ReferenceSettings(Settings):
    """The program that makes labels, and what it takes to believe them."""

    method: Literal["GFN1-xTB"] = Field(
        "GFN1-xTB", description="Level of theory. GFN1-xTB runs inside tblite; Γ point only."
    )
    electronic_temperature_K: float = Field(
        300.0, ge=0, le=10000, description="Fermi smearing of the electronic occupations, K."
    )
    max_iterations: int = Field(250, ge=1, description="SCF iterations before a label fails.")
    max_force_eV_per_A: float = Field(
        30.0, gt=0, description="A label whose largest force component is above this is rejected."
    )
    cores_per_label: int = Field(1, ge=1, description="Cores that one label occupies.")
    timeout_s: float = Field(600.0, gt=0, description="A label is given up after this wall time.")
    command: list[str] | None = Field(
        None,
        min_length=1,
        description="Program and arguments to run in place of `python -m phasewalk.reference`; it "
        "gets the names of a request and of a result file. A list, never a shell line.",
    )


@dataclass(frozen=True)
class Level:
    """A level of theory: what two labels must share to train one model.

    Attributes:
        method: settings of the method that change its numbers.
        cell_multiple: primitive cells in the simulated cell. A Γ-only method samples the Brillouin
            zone through it: MIL-53(Al) as 38 and as 76 atoms differs by 1.0 GPa in GFN1-xTB.
    """

    method: str
    electronic_temperature_K: float
    cell_multiple: int

    @property
    def key(self) -> str:
        """Fingerprint of the method, and the cell multiple through which it samples."""
        text = json.dumps([self.method, "gamma", self.electronic_temperature_K])
        return f"{hashlib.sha256(text.encode()).hexdigest()[:16]}-x{self.cell_multiple}"

    def __str__(self) -> str:
        return (
            f"{self.method}, Γ point of {self.cell_multiple} primitive cell(s), "
            f"{self.electronic_temperature_K:g} K electrons"
        )


def level(settings: ReferenceSettings, cell_multiple: int) -> Level:
    """The level of theory of a system that is simulated in so many primitive cells."""
    return Level(settings.method, settings.electronic_temperature_K, cell_multiple)


@dataclass(frozen=True)
class Label:
    """One labelled frame.

    Attributes:
        key: content address, from the frame and the level.
        atoms: the frame (Å).
        energy: eV.
        forces: (N, 3), eV/Å.
        stress: (6,) Voigt xx yy zz yz xz xy, eV/Å³, tension positive.
        level: key of the level of theory.
        origin: where the frame comes from (system, round, walker, step …).
        seconds: wall time of the reference.
    """

    key: str
    atoms: Atoms
    energy: float
    forces: Array
    stress: Array
    level: str
    origin: Mapping[str, Any]
    seconds: float

    def with_results(self) -> Atoms:
        """The frame with a calculator that holds the label, as ASE writes and reads it."""
        atoms = self.atoms.copy()
        atoms.calc = SinglePointCalculator(
            atoms, energy=self.energy, forces=self.forces, stress=self.stress
        )
        info = {"key": self.key, "level": self.level, **self.origin}
        # An empty value would swallow the next one in the line that ASE writes.
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


def job(name: str, atoms: Atoms, *, settings: ReferenceSettings, directory: Path) -> Job:
    """A child process that labels one frame."""
    request = {
        "method": settings.method,
        "electronic_temperature_K": settings.electronic_temperature_K,
        "max_iterations": settings.max_iterations,
        "frame": frame_to_json(atoms),
    }
    threads = str(settings.cores_per_label)
    return Job(
        name=name,
        argv=(*(settings.command or REFERENCE), REQUEST, RESULT),
        directory=directory,
        inputs={REQUEST: json.dumps(request).encode()},
        env={"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
        cores=settings.cores_per_label,
        timeout_s=settings.timeout_s,
    )


def read(
    finished: Finished, atoms: Atoms, *, at: Level, origin: Mapping[str, Any], max_force: float
) -> Label:
    """The label that a finished job made.

    Raises:
        EngineFailed: the program failed.
        ParseError: its result cannot be read.
        InputError: the result is not to be believed; the message says why.
    """
    finished.require_success()
    return read_result(finished.directory, atoms, at=at, origin=origin, max_force=max_force)


def read_result(
    directory: Path, atoms: Atoms, *, at: Level, origin: Mapping[str, Any], max_force: float
) -> Label:
    """The label in a job's directory; see `read`."""
    path = directory / RESULT
    try:
        result = json.loads(path.read_text())
        label = Label(
            key=label_key(atoms, at),
            atoms=atoms,
            energy=float(result["energy_eV"]),
            forces=np.array(result["forces_eV_per_A"], dtype=float),
            stress=np.array(result["stress_eV_per_A3"], dtype=float),
            level=at.key,
            origin=dict(origin),
            seconds=float(result["seconds"]),
        )
    except UNREADABLE as error:
        raise ParseError(path, f"not a result of the reference ({error!r})") from error
    check(label, max_force)
    return label


def check(label: Label, max_force: float) -> None:
    """Raise InputError where a label must not be believed."""
    count = len(label.atoms)
    if label.forces.shape != (count, 3) or label.stress.shape != (6,):
        raise InputError(
            f"label {label.key}: forces {label.forces.shape} and stress {label.stress.shape} "
            f"do not fit {count} atoms"
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
            f"label {label.key}: the largest force component is {largest:.1f} eV/Å "
            f"(limit {max_force:g}, reference.max_force_eV_per_A)"
        )


def frame_to_json(atoms: Atoms) -> dict[str, Any]:
    """Elements, positions (Å) and cell (rows, Å) as JSON lists, exact to the last bit."""
    return {
        "numbers": atoms.numbers.tolist(),
        "positions_A": atoms.positions.tolist(),
        "cell_A": atoms.cell.array.tolist(),
    }


def frame_from_json(data: Mapping[str, Any]) -> Atoms:
    """The reverse of `frame_to_json`; periodic. ValueError where it is no frame."""
    numbers = np.array(data["numbers"])
    positions, cell = (np.array(data[key], dtype=float) for key in ("positions_A", "cell_A"))
    if numbers.ndim != 1 or numbers.dtype.kind != "i" or not len(numbers):
        raise ValueError("its atomic numbers are not whole numbers")
    if numbers.min() < 1 or numbers.max() >= len(chemical_symbols):
        raise ValueError("an atomic number is not an element's")
    if positions.shape != (len(numbers), 3) or cell.shape != (3, 3):
        raise ValueError("its positions or its cell do not fit its atoms")
    if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
        raise ValueError("its positions or its cell are not finite")
    return Atoms(numbers=numbers, positions=positions, cell=cell, pbc=True)


def to_json(label: Label) -> str:
    """A label as the text of its file."""
    return json.dumps(
        {
            "schema": 1,
            "key": label.key,
            "level": label.level,
            "origin": dict(label.origin),
            "frame": frame_to_json(label.atoms),
            "energy_eV": label.energy,
            "forces_eV_per_A": label.forces.tolist(),
            "stress_eV_per_A3": label.stress.tolist(),
            "seconds": label.seconds,
        }
    )


def from_json(text: str, path: Path) -> Label:
    """A label from the text of its file; ParseError where it is not one."""
    try:
        data = json.loads(text)
        label = Label(
            key=data["key"],
            atoms=frame_from_json(data["frame"]),
            energy=float(data["energy_eV"]),
            forces=np.array(data["forces_eV_per_A"], dtype=float),
            stress=np.array(data["stress_eV_per_A3"], dtype=float),
            level=data["level"],
            origin=data["origin"],
            seconds=float(data["seconds"]),
        )
        if not (isinstance(label.key, str) and isinstance(label.level, str)):
            raise TypeError("its key or its level is not text")
        if not isinstance(label.origin, dict):
            raise TypeError("its origin has no names")
        check(label, math.inf)
    except (*UNREADABLE, InputError) as error:
        raise ParseError(path, f"not a label ({error!r})") from error
    return label


def split(count: int, validation_every: int) -> list[bool]:
    """The fixed rule: which of the labels, in the order of the campaign, are for validation.

    One of each `validation_every` is; which one moves on by three from block to block, so that no
    walker is always the one. Growing the list never moves a label from one set to the other.
    """
    return [
        index % validation_every
        == (validation_every - 1 + 3 * (index // validation_every)) % validation_every
        for index in range(count)
    ]


def same_level(labels: Sequence[Label]) -> None:
    """Raise InputError where labels of different levels of theory would train one model.

    The method must be one for all, and the sampling one for each composition.
    """
    methods = sorted({label.level.rpartition("-")[0] for label in labels})
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
                f"{label.level}: other cells, sampled at the Γ point) cannot train one model"
            )
